"""config/gunicorn.conf.py as a process: what its master and its workers hold and refuse."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from tests.commands.processes import PROJECT, clean_environment, free_port, wait_until
from tests.measured import scrape

# As `python -m gunicorn -c config/gunicorn.conf.py`, with something before it.
GUNICORN = (
    "import sys; sys.argv = ['gunicorn', '-c', 'config/gunicorn.conf.py'];"
    "from gunicorn.app.wsgiapp import run; run()"
)


@contextmanager
def gunicorn(port: int, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", GUNICORN],
        cwd=PROJECT,
        env=clean_environment(
            **{
                "SLUICE_ENV": "trial",
                "BIND": f"127.0.0.1:{port}",
                "WEB_CONCURRENCY": "2",
                "DATABASE_URL": f"postgres://nobody@127.0.0.1:{free_port()}/nothing",
                "REDIS_URL": f"redis://127.0.0.1:{free_port()}",
            }
            | environment
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def status_of(port: int, path: str) -> int | None:
    caller = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        caller.request("GET", path)
        return caller.getresponse().status
    except OSError:
        return None
    finally:
        caller.close()


def sockets_of(pid: int) -> int:
    links = [file.readlink() for file in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(str(link).startswith("socket:") for link in links)


class GunicornTests:
    def test_lives_and_is_not_ready_while_the_database_is_down(self) -> None:
        with gunicorn(port := free_port()) as server:
            wait_until(lambda: status_of(port, "/livez") == 200)

            assert status_of(port, "/readyz") == 503
            assert server.poll() is None

    def test_stops_when_it_is_told_to(self) -> None:
        with gunicorn(port := free_port()) as server:
            wait_until(lambda: status_of(port, "/livez") == 200)

            server.send_signal(signal.SIGTERM)

            # A worker that is only just born misses the word and is given the graceful 30 s.
            assert server.wait(45) == 0

    def test_has_no_connection_in_the_master(self) -> None:
        with gunicorn(port := free_port()) as server:
            wait_until(lambda: status_of(port, "/readyz") == 503)

            # Its listener alone.
            assert sockets_of(server.pid) == 1

    def test_refuses_a_driver_that_would_block_the_worker(self) -> None:
        # One worker: gunicorn stumbles over a second that fails while it ends for the first, and
        # returns 1.
        settings = {"BIND": f"127.0.0.1:{free_port()}", "WEB_CONCURRENCY": "1"}
        done = subprocess.run(
            [sys.executable, "-c", f"import psycopg; {GUNICORN}"],
            cwd=PROJECT,
            env=clean_environment(SLUICE_ENV="trial", **settings),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

        assert done.returncode == 3
        assert "psycopg was imported before gevent patched" in done.stderr


class WsgiTests:
    def test_loads_requests_only_when_it_is_asked_for(self) -> None:
        program = (
            "import sys, config.wsgi; print('requests' in sys.modules, end=' ');"
            "import requests; print(requests.Session.__name__)"
        )
        servers = {"DATABASE_URL": "postgres:///nothing", "REDIS_URL": "redis://127.0.0.1"}

        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=PROJECT,
            env=clean_environment(SLUICE_ENV="trial", **servers),
            capture_output=True,
            text=True,
            check=True,
        )

        assert done.stdout == "False Session\n"


class MetricsTests:
    def test_are_on_a_port_of_their_own_with_nothing_else(self, tmp_path: Path) -> None:
        port, beside = free_port(), free_port()
        own = {"METRICS_BIND": f"127.0.0.1:{beside}", "METRICS_DIR": str(tmp_path)}
        with gunicorn(port, **own) as server:
            wait_until(lambda: status_of(port, "/livez") == 200)

            assert [status_of(port, path) for path in ("/metrics", "/api/v1/orders")] == [404, 401]
            paths = ("/metrics", "/livez", "/api/v1/orders", "/admin/login/", "/")
            assert [status_of(beside, path) for path in paths] == [200, 200, 404, 404, 404]
            served = scrape(beside)
            assert served.value("http_server_requests_total", status="401") == 1
            assert served.value("http_server_requests_total", status="404") == 1
            assert served.value("http_refusals_total", code="not_found") == 4
            wait_until(lambda: scrape(beside).value("database_pool_size_max") == 20)
            measured = scrape(beside)
            assert measured.value("workers") == 2
            assert measured.value("sluice_build_info") == 1
            assert measured.value("worker_memory_pss_bytes") > 20e6
            assert measured.value("worker_event_loop_lag_seconds_count") > 0

            server.send_signal(signal.SIGTERM)
            server.wait(45)
        assert list(tmp_path.iterdir()) == []

    def test_are_not_shown_to_who_claims_their_port_through_a_unix_socket(
        self, tmp_path: Path
    ) -> None:
        path, beside = tmp_path / "http", free_port()
        settings = {"BIND": f"unix:{path}", "METRICS_BIND": f"127.0.0.1:{beside}"}
        with gunicorn(free_port(), METRICS_DIR=str(tmp_path), **settings):
            wait_until(lambda: status_of(beside, "/livez") == 200)

            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(str(path))
                caller.sendall(
                    f"GET /metrics HTTP/1.0\r\nHost: localhost:{beside}\r\n\r\n".encode()
                )
                assert caller.recv(100).startswith(b"HTTP/1.0 404 ")

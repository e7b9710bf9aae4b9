"""Debian's Prometheus asks a running service, judges its alerts and answers the dashboard."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.commands.processes import PROJECT, free_port, wait_until
from tests.commands.test_metrics_page import queries
from tests.load import Address, send_all
from tests.measured import ask, scrape
from tests.server import Server, fresh_database, serving

REQUESTS = "http_server_requests_total"
RULES = PROJECT / "deploy" / "prometheus"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    own = {
        "METRICS_BIND": f"127.0.0.1:{free_port()}",
        "METRICS_DIR": str(tmp_path_factory.mktemp("metrics")),
    }
    with fresh_database(os.environ["DATABASE_URL"]) as database, serving(database, **own) as server:
        server.given_stock("CUP", on_hand=1_000_000)
        yield server


def metrics_port(server: Server) -> int:
    return int(server.environment["METRICS_BIND"].rpartition(":")[2])


def orders(server: Server, count: int) -> list[bytes]:
    address = Address(server.port, server.api_key)
    return [address.order(secrets.token_hex(8), [("CUP", 1)]) for _ in range(count)]


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        ["promtool", *arguments], cwd=RULES, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def prometheus(directory: Path, target: int) -> Iterator[int]:
    """Run Prometheus with our configuration, asking that port every second; yield its own port."""
    port = free_port()
    shipped = (RULES / "prometheus.yml").read_text(encoding="utf-8")
    ours = shipped.replace("127.0.0.1:9100", f"127.0.0.1:{target}").replace("15s", "1s")
    (directory / "prometheus.yml").write_text(ours, encoding="utf-8")
    shutil.copy(RULES / "alerts.yml", directory)
    running = subprocess.Popen(
        [
            "prometheus",
            "--config.file=prometheus.yml",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        running.terminate()
        running.wait(20)


def result_of(port: int, expression: str) -> list[dict[str, Any]]:
    """Return what Prometheus answers to a query; empty before it listens."""
    try:
        status, text = ask(port, f"/api/v1/query?query={quote(expression, safe='')}")
    except OSError:
        return []
    if status == 503:
        return []
    answer = json.loads(text)
    assert answer["status"] == "success", (expression, answer)
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


@pytest.mark.prove
class PromtoolTests:
    def test_takes_rules_and_configuration(self):
        assert "SUCCESS" in promtool("check", "rules", "alerts.yml")
        assert "SUCCESS" in promtool("check", "config", "prometheus.yml")

    def test_takes_every_alert_where_it_must_speak_and_where_not(self):
        assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")
        alerts = re.findall(r"- alert: (\w+)", (RULES / "alerts.yml").read_text(encoding="utf-8"))
        tried = (RULES / "alerts_test.yml").read_text(encoding="utf-8")
        assert [alert for alert in alerts if f"alertname: {alert}}}" not in tried] == []

    def test_takes_what_the_service_says(self, server):
        _, text = ask(metrics_port(server), "/metrics")

        done = subprocess.run(
            ["promtool", "check", "metrics"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        # It would like other names, and says so; what it cannot read is another matter.
        assert "error while linting" not in done.stderr


@pytest.mark.prove
class PrometheusTests:
    def test_scrapes_the_service_and_answers_every_query(self, server, tmp_path):
        with prometheus(tmp_path, metrics_port(server)) as port:
            replies = send_all(server.port, orders(server, 200), callers=8, is_patient=True)
            assert {reply.status for reply in replies} == {201}
            placed = 'sum(http_server_requests_total{route="/api/v1/orders",status="201"})'
            wait_until(
                lambda: any(float(r["value"][1]) >= 200 for r in result_of(port, placed)),
                seconds=60,
            )

            for place, expression in queries():
                asked = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
                assert isinstance(result_of(port, asked), list), place
            assert result_of(port, 'ALERTS{alertname="SluiceDown"}') == []
            assert len(result_of(port, "workers == 2")) == 1


class CardinalityTests:
    COUNT = 5_000

    @pytest.mark.prove
    def test_series_do_not_grow_with_what_callers_make_up(self, server):
        """The first of each kind may open a series; the thousands after it open none."""
        assert self.grown_by(server, self.made_up(server, self.COUNT)) == set()

    @pytest.mark.soak
    def test_series_do_not_grow_with_a_hundred_thousand_calls(self, server):
        assert self.grown_by(server, self.made_up(server, 100_000)) == set()

    @pytest.mark.prove
    def test_series_do_not_grow_with_versions_that_nobody_may_choose(self, server):
        assert self.grown_by(server, self.versions(server, 2_000)) == set()

    @pytest.mark.soak
    def test_series_do_not_grow_with_ten_thousand_such_versions(self, server):
        assert self.grown_by(server, self.versions(server, 10_000)) == set()

    def grown_by(self, server: Server, calls: list[bytes]) -> set[Any]:
        port = metrics_port(server)
        send_all(server.port, calls[:500], callers=8)
        before = scrape(port)
        send_all(server.port, calls, callers=16)
        after = scrape(port)
        assert after.value(REQUESTS) - before.value(REQUESTS) == len(calls)
        return after.values.keys() - before.values.keys()

    @staticmethod
    def made_up(server: Server, count: int) -> list[bytes]:
        verbs = ["GET", "POST", "PUT", "DELETE", "BREW", "PROPFIND"]
        paths = ["/{}", "/api/v1/{}", "/api/v1/orders/{}", "/static/{}", "/api/v1/stock/{}"]
        return [
            (
                f"{verbs[n % 6] if n % 7 else word.upper()} "
                f"{paths[n % 5].format(word)} HTTP/1.1\r\n"
                f"Host: localhost\r\nX-{word}: {word}\r\nUser-Agent: {word}\r\n"
                f"Content-Length: 0\r\n\r\n"
            ).encode()
            for n in range(count)
            for word in [secrets.token_hex(6)]
        ]

    @staticmethod
    def versions(server: Server, count: int) -> list[bytes]:
        # The key may choose versions; without it the header is nobody's.
        return [
            (
                f"GET /api/v1/stock/CUP HTTP/1.1\r\nHost: localhost\r\n"
                f"x-deploy-version: {secrets.token_hex(6)}\r\n\r\n"
            ).encode()
            for _ in range(count)
        ]


@pytest.mark.prove
class FileTests:
    def test_of_a_stylesheet_are_counted_when_they_are_sent(self, server):
        port = metrics_port(server)
        before = scrape(port)

        assert server.call("GET", "/static/admin/css/base.css")[0] == 200

        wait_until(
            lambda: (
                scrape(port).value(REQUESTS, route="/static/", status="200")
                == before.value(REQUESTS, route="/static/", status="200") + 1
            )
        )
        assert scrape(port).value("http_server_requests_in_flight") == 0


COST = """
import os, sys, tempfile, time, types
from gevent import monkey; monkey.patch_all()
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(dir=sys.argv[1])
import django; django.setup()
from django.http import HttpResponse
from django.test import RequestFactory
from config.measured import Measured
request = RequestFactory().post("/api/v1/orders", data=b"{}", content_type="application/json")
request.resolver_match = types.SimpleNamespace(route="api/v1/orders")
answer = HttpResponse(b"x")
def cost_of(call):
    times = []
    for _ in range(20):
        began = time.process_time_ns()
        for _ in range(2000):
            call(request)
        times.append((time.process_time_ns() - began) / 2000 / 1000)
    return min(times)
print(cost_of(Measured(lambda _: answer)) - cost_of(lambda _: answer))
"""


@pytest.mark.prove
class CostTests:
    def test_of_all_http_metrics_together_is_microseconds(self, tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", COST, str(tmp_path)],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=True,
        )

        assert float(done.stdout) <= 20

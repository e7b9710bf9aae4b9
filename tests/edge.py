"""The proxies of deploy/, as they are shipped, with addresses and rates of a test."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from config.children import Child
from tests.commands.processes import PROJECT, free_port, wait_until

DEPLOY = PROJECT / "deploy"


def need(*programs: str) -> None:
    """Fail, or skip with ALLOW_MISSING=1, unless these programs are installed."""
    missing = [name for name in programs if shutil.which(name, path=search_path()) is None]
    if missing:
        reason = f"{', '.join(missing)} not installed: make prove-deps"
        if os.environ.get("ALLOW_MISSING") == "1":
            pytest.skip(reason)
        pytest.fail(reason)


def search_path() -> str:
    """Return PATH with the folders of what only root usually runs."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def program(name: str) -> str:
    """Return where an installed program is."""
    found = shutil.which(name, path=search_path())
    assert found is not None
    return found


def replaced(text: str, pairs: Mapping[str, str]) -> str:
    """Return the text with each key, which must be in it, replaced by its value."""
    for old, new in pairs.items():
        assert old in text, f"{old!r} is not in the file that is shipped"
        text = text.replace(old, new)
    return text


def self_signed(folder: Path) -> None:
    """Write fullchain.pem and key.pem for shop.example."""
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example",
            "-keyout", folder / "key.pem", "-out", folder / "fullchain.pem",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip


@dataclass(frozen=True)
class Nginx:
    """A running nginx: port speaks plain http with all that tls_port does, redirect_port leads."""

    folder: Path
    port: int
    tls_port: int
    redirect_port: int
    child: Child

    @property
    def socket(self) -> Path:
        """The socket by which it speaks plain http, too."""
        return self.folder / "socket"

    @property
    def log(self) -> str:
        """What it logged: its own trouble and one line a request."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def reload(self) -> None:
        """Read the files anew."""
        self.child.process.send_signal(signal.SIGHUP)


@contextmanager
def nginx(
    upstreams: Sequence[int], *, rate_one: str = "100000r/s", rate_all: str = "100000r/s",
    connections_one: int = 5000, **more: str,
) -> Iterator[Nginx]:  # fmt: skip
    """
    Run nginx with deploy/nginx before servers on these ports of this machine.

    Its limits are so high that only a test which names them meets them. more: what else to replace.
    """
    need("nginx", "openssl")
    with tempfile.TemporaryDirectory(prefix="nginx-") as name:
        folder = Path(name)
        self_signed(folder)
        ports = free_port(), free_port(), free_port()
        files = nginx_files(
            folder, ports, upstreams, rate_one=rate_one, rate_all=rate_all,
            connections_one=connections_one,
        )  # fmt: skip
        for file, text in files.items():
            (folder / file).write_text(replaced(text, more if file == "sluice.conf" else {}))
        with (folder / "log").open("wb") as log:
            child = Child(
                [program("nginx"), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"],
                stop_signals=(signal.SIGTERM,),
                stdout=log,
                stderr=log,
            )
        running = Nginx(folder, *ports, child)
        try:
            wait_until(lambda: answers(running.port))
            yield running
        finally:
            child.stop(5)


def nginx_files(
    folder: Path, ports: tuple[int, int, int], upstreams: Sequence[int], *,
    rate_one: str, rate_all: str, connections_one: int,
) -> dict[str, str]:  # fmt: skip
    """Return the two files that are shipped, changed as their comments say one would."""
    plain, tls, redirect = ports
    servers = "\n".join(
        f"    server 127.0.0.1:{port} max_fails=1 fail_timeout=1s;" for port in upstreams
    )
    main = replaced(
        (DEPLOY / "nginx/nginx.conf").read_text(),
        {
            "pid /run/nginx.pid": f"pid {folder}/pid",
            "include /etc/nginx/sluice.conf": f"include {folder}/sluice.conf",
        },
    )
    server = replaced(
        (DEPLOY / "nginx/sluice.conf").read_text(),
        {
            "    server 127.0.0.1:8000 max_fails=1 fail_timeout=1s;": servers,
            "listen 80;": f"listen 127.0.0.1:{redirect};",
            "listen 443 ssl http2;": (
                f"listen 127.0.0.1:{tls} ssl http2; listen 127.0.0.1:{plain};"
                f" listen unix:{folder}/socket;"
            ),
            "server_name shop.example": "server_name shop.example localhost 127.0.0.1",
            "/etc/ssl/sluice": str(folder),
            "rate=200r/s": f"rate={rate_one}",
            "rate=1000r/s": f"rate={rate_all}",
            "limit_conn sluice_connections 200": f"limit_conn sluice_connections {connections_one}",
        },
    )
    return {"nginx.conf": main, "sluice.conf": server}


@contextmanager
def haproxy(servers: Sequence[str]) -> Iterator[int]:
    """Run HAProxy with deploy/haproxy before servers at these addresses; yield its port."""
    need("haproxy", "openssl")
    with tempfile.TemporaryDirectory(prefix="haproxy-") as name:
        folder, port = Path(name), free_port()
        self_signed(folder)
        pem = folder / "sluice.pem"
        pem.write_text((folder / "fullchain.pem").read_text() + (folder / "key.pem").read_text())
        listed = "\n".join(f"    server host{n} {at}" for n, at in enumerate(servers, start=1))
        text = replaced(
            (DEPLOY / "haproxy/haproxy.cfg").read_text(),
            {
                "bind :80\n": f"bind 127.0.0.1:{port}\n",
                "bind :443 ssl": f"bind 127.0.0.1:{free_port()} ssl",
                "/etc/haproxy/sluice.pem": str(pem),
                "    server host1 10.0.0.11:8000\n    server host2 10.0.0.12:8000": listed,
                "gt 2000": "gt 1000000",
            },
        )
        (folder / "haproxy.cfg").write_text(text)
        with (folder / "log").open("wb") as log:
            child = Child(
                [program("haproxy"), "-W", "-f", str(folder / "haproxy.cfg")],
                stop_signals=(signal.SIGTERM,),
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(lambda: answers(port))
            yield port
        finally:
            child.stop(5)


def answers(port: int) -> bool:
    """Test whether something on this port speaks HTTP."""
    caller = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        caller.request("GET", "/")
        caller.getresponse().read()
    except OSError:
        return False
    finally:
        caller.close()
    return True

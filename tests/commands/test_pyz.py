"""dist/sluice.pyz, copied alone into an empty directory, is the whole service."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from config.release import VERSION
from tests.commands.processes import PROJECT, free_port, wait_until
from tests.server import fresh_database

ORDER = {"customer": "c-17", "lines": [{"sku": "DEMO-CUP", "quantity": 2}]}


@pytest.fixture(scope="module")
def built() -> Path:
    subprocess.run(["make", "dist"], cwd=PROJECT, check=True, capture_output=True)
    return PROJECT / "dist/sluice.pyz"


class Alone:
    """A directory with the file, and an environment with nothing of this project."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.file = folder / "sluice.pyz"
        self.folder = folder
        self.port = free_port()
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "DATABASE_URL": database_url,
            "REDIS_URL": os.environ["REDIS_URL"],
            "SECRET_KEY": "only-for-a-server-that-lives-for-a-minute-4471-zebra",
            "ALLOWED_HOSTS": "localhost",
            "TRUST_X_FORWARDED_PROTO": "true",
            "BIND": f"127.0.0.1:{self.port}",
            "WEB_CONCURRENCY": "2",
            "PID_FILE": str(folder / "web.pid"),
        }

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """Start a verb with the Python that runs us, from outside its virtual environment."""
        python = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
        return subprocess.Popen(
            [python, str(self.file), *arguments],
            cwd=self.folder,
            env=self.environment,
            text=True,
            **options,
        )

    def said(self, *arguments: str) -> str:
        """Return what a verb says, which must succeed."""
        running = self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said, trouble = running.communicate(timeout=180)
        assert running.returncode == 0, said + trouble
        return said.strip()

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """Call as its proxy would; return status and body."""
        caller = HTTPConnection("localhost", self.port, timeout=15)
        try:
            content = json.dumps(body) if body else None
            caller.request(method, path, content, {"X-Forwarded-Proto": "https"} | headers)
            answer = caller.getresponse()
            return answer.status, answer.read()
        finally:
            caller.close()

    def is_ready(self) -> bool:
        try:
            return self.call("GET", "/readyz")[0] == 200
        except (OSError, HTTPException):
            return False

    @contextmanager
    def serving(self) -> Iterator[int]:
        """Serve until the block ends; yield who was the first master."""
        with (self.folder / "log").open("w") as log:
            server = self.start("web", stderr=log)
        try:
            wait_until(self.is_ready, seconds=120)
            yield server.pid
        finally:
            for pid in {server.pid, self.master_pid(otherwise=server.pid)}:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            server.wait(60)

    def master_pid(self, *, otherwise: int = 0) -> int:
        """Return who serves now, as PID_FILE says."""
        try:
            return int((self.folder / "web.pid").read_text())
        except (OSError, ValueError):
            return otherwise

    def order(self, key: str) -> tuple[int, bytes]:
        """Place the order of demo goods, or ask for it again."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": "alone-1"}
        return self.call("POST", "/api/v1/orders", ORDER, Authorization=f"Bearer {key}", **headers)

    def with_goods(self) -> str:
        """Make tables and demo goods; return a key for orders."""
        self.said("migrate", "--verbosity=0")
        self.said("manage", "load_demo")
        return self.said("manage", "create_api_key", "--user=shop", "--create-user", "--all-scopes")


@pytest.fixture
def alone(built: Path, tmp_path: Path) -> Iterator[Alone]:
    shutil.copy(built, tmp_path)
    with fresh_database(os.environ["DATABASE_URL"]) as database:
        yield Alone(tmp_path, database.url)


@pytest.mark.prove
class PyzTests:
    def test_alone_it_takes_orders(self, alone: Alone) -> None:
        assert alone.said("--version") == f"sluice {VERSION}"
        key = alone.with_goods()

        with alone.serving():
            assert alone.order(key)[0] == 201


@pytest.mark.soak
class InstalledTests:
    def test_alone_it_shows_pages_upgrades_and_balances(self, alone: Alone) -> None:
        key = alone.with_goods()
        with alone.serving() as first_master:
            alone.said("probe")
            status, first = alone.order(key)

            said = alone.said("upgrade")

            again, replayed = alone.order(key)
            assert (status, again) == (201, 201)
            assert replayed == first
            assert said == f"{alone.master_pid()} serves in place of {first_master}"
            page = alone.call("GET", "/admin/login/")[1].decode()
            style = next(word for word in page.split('"') if word.endswith(".css"))
            assert alone.call("GET", style)[0] == 200
            assert alone.said("manage", "reconcile").endswith(" 0 discrepancies")

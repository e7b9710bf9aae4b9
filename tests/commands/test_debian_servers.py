"""The oldest servers that are supported: PostgreSQL 15 and Redis 7, as Debian 12 has them."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from tests.commands.processes import PROJECT, wait_until

pytestmark = pytest.mark.prove

POSTGRES = Path("/usr/lib/postgresql/15/bin")
REDIS = shutil.which("redis-server")
# What asks the most of both: every use case, the COMMIT that is lost, what is read through Redis.
SUITE = (
    "tests/usecases",
    "tests/faults/test_lost_commit.py",
    "tests/api/test_place_order.py",
    "tests/api/test_cached_reads.py",
)


@contextmanager
def running(*command: str | Path, **options: object) -> Iterator[None]:
    """Run a server; end it at once when the block ends."""
    server = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, **options)
    try:
        yield
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)


def answers(call) -> bool:
    try:
        return bool(call())
    except (psycopg.OperationalError, redis.ConnectionError):
        return False


@pytest.fixture
def servers() -> Iterator[dict[str, str]]:
    if not (POSTGRES / "postgres").exists() or REDIS is None:
        missing = "PostgreSQL 15 or Redis is not installed: make prove-deps"
        if os.environ.get("ALLOW_MISSING") == "1":
            pytest.skip(missing)
        pytest.fail(missing)
    # PostgreSQL refuses to run as root.
    account = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="debian-")))
        if account:
            shutil.chown(folder, **account)
        subprocess.run(
            [
                POSTGRES / "initdb",
                "-D",
                folder / "data",
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **account,
        )
        stack.enter_context(
            running(
                POSTGRES / "postgres", "-D", folder / "data", "-k", folder,
                "-c", "listen_addresses=", cwd="/", stderr=subprocess.DEVNULL, **account,
            )
        )  # fmt: skip
        stack.enter_context(
            running(
                REDIS, "--port", "0", "--unixsocket", folder / "redis.sock", "--save", "",
                "--dir", folder, cwd="/", **account,
            )
        )  # fmt: skip
        database = f"postgres://postgres@/postgres?host={folder}"
        cache = f"unix://{folder}/redis.sock?db=0"
        wait_until(lambda: answers(lambda: psycopg.connect(database).close() or True))
        wait_until(lambda: answers(redis.Redis.from_url(cache).ping))
        yield {"DATABASE_URL": database, "REDIS_URL": cache}


class OldestServersTests:
    def test_the_business_holds_on_them(self, servers: dict[str, str]) -> None:
        with psycopg.connect(servers["DATABASE_URL"]) as asking:
            assert asking.info.server_version // 10_000 == 15

        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITE],
            cwd=PROJECT,
            env=os.environ | servers,
            capture_output=True,
            text=True,
            check=False,
        )

        assert ran.returncode == 0, ran.stdout[-3000:]
        assert " passed" in ran.stdout

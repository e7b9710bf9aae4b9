"""The oldest servers that are supported: PostgreSQL 15 and Redis 7, as Debian 12 has them."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from tests.commands.processes import wait_until

POSTGRES = Path("/usr/lib/postgresql/15/bin")
REDIS = shutil.which("redis-server")


@contextmanager
def debian_servers(*postgres_settings: str) -> Iterator[dict[str, str]]:
    """
    Run both until the block ends; yields DATABASE_URL, of a superuser, and REDIS_URL.

    postgres_settings: each as name=value. Where they are not installed the test fails, or is
    skipped with ALLOW_MISSING=1.
    """
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
        cluster = ["-D", folder / "data"]
        subprocess.run(
            [POSTGRES / "initdb", *cluster, "-U", "postgres", "-A", "trust", "-E", "UTF8"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **account,
        )
        settings = [
            part for name in ("listen_addresses=", *postgres_settings) for part in ("-c", name)
        ]
        stack.enter_context(
            _running(
                POSTGRES / "postgres", *cluster, "-k", folder, *settings,
                cwd="/", stderr=subprocess.DEVNULL, **account,
            )
        )  # fmt: skip
        stack.enter_context(
            _running(
                REDIS, "--port", "0", "--unixsocket", folder / "redis.sock", "--save", "",
                "--dir", folder, cwd="/", **account,
            )
        )  # fmt: skip
        database = f"postgres://postgres@/postgres?host={folder}"
        cache = f"unix://{folder}/redis.sock?db=0"
        wait_until(lambda: _answers(lambda: psycopg.connect(database).close() or True))
        wait_until(lambda: _answers(redis.Redis.from_url(cache).ping))
        yield {"DATABASE_URL": database, "REDIS_URL": cache}


@contextmanager
def _running(*command: str | Path, **options: object) -> Iterator[None]:
    server = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, **options)
    try:
        yield
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)


def _answers(call) -> bool:
    try:
        return bool(call())
    except (psycopg.OperationalError, redis.ConnectionError):
        return False

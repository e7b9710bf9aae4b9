"""The real server for heavy tests: gunicorn with gevent workers, on a database of its own."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from config.embedded import Child
from tests.commands.processes import PROJECT, free_port, wait_until

Row = tuple[Any, ...]


class Database:
    """A migrated database that belongs to one test module. url: as DATABASE_URL names it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def connect(self) -> psycopg.Connection[Row]:
        """Return a connection of its own, without transactions unless asked for."""
        return psycopg.connect(self.url, autocommit=True)

    def rows(self, statement: str, *parameters: object) -> list[Row]:
        """Return what a statement finds."""
        with self.connect() as asking:
            return asking.execute(statement, parameters).fetchall()

    def value(self, statement: str, *parameters: object) -> Any:
        """Return the one value that a statement finds."""
        ((value,),) = self.rows(statement, *parameters)
        return value

    def manage(self, *arguments: str) -> str:
        """Run a command of manage.py here, which must succeed; return what it said."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT,
            env={**os.environ, "DATABASE_URL": self.url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def deadlocks(self) -> int:
        """Return how many deadlocks this database has seen; sessions tell when they are idle."""
        time.sleep(1.2)
        return int(
            self.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        )

    def assert_balanced(self) -> None:
        """Fail with every discrepancy unless the books balance."""
        assert self.manage("reconcile").endswith(" 0 discrepancies")


def drop_database(server_url: str, name: str) -> None:
    """Drop a database, whoever is still connected to it."""
    for patience in reversed(range(60)):
        try:
            with psycopg.connect(server_url, autocommit=True) as beside:
                beside.execute(
                    sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
                )
            return
        except psycopg.errors.InsufficientPrivilege:
            # Autovacuum is at work there, the superuser's, whom we may not end. It will be done.
            if not patience:
                raise
            time.sleep(0.5)


@contextmanager
def fresh_database(server_url: str) -> Iterator[Database]:
    """Make a migrated database beside the one that the URL names; drop it afterwards."""
    name = f"prove_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as beside:
        beside.execute(f"CREATE DATABASE {name}")
    try:
        database = Database(urlsplit(server_url)._replace(path=f"/{name}").geturl())
        database.manage("migrate", "--verbosity=0")
        yield database
    finally:
        drop_database(server_url, name)


class Server:
    """
    gunicorn with config/gunicorn.conf.py, started in the constructor.

    python: whose packages it has, by default ours. settings: of the environment; WEB_CONCURRENCY
    is 2 unless told otherwise.
    """

    def __init__(
        self, database: Database, *, python: str = sys.executable, **settings: str
    ) -> None:
        self.database = database
        self.python = python
        self.port = free_port()
        self.api_key = database.manage(
            "create_api_key", "--user", "shop", "--create-user", "--all-scopes"
        )
        self.log = Path(tempfile.mkstemp(prefix="sluice-prove-", suffix=".log")[1])
        self.environment = os.environ | {
            "DATABASE_URL": database.url,
            "BIND": f"127.0.0.1:{self.port}",
            "WEB_CONCURRENCY": "2",
            "WORKER_CONNECTIONS": "1000",
            **settings,
        }
        self.start()

    def start(self) -> None:
        """Start it, also again after a stop; return when orders are welcome."""
        with self.log.open("ab") as log:
            self.child = Child(
                [self.python, "-m", "gunicorn", "-c", "config/gunicorn.conf.py"],
                stop_signals=(signal.SIGTERM, signal.SIGQUIT),
                cwd=PROJECT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(self.is_ready, seconds=60)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Tell it to finish its requests and wait until it is gone."""
        self.child.stop(35)

    def is_ready(self) -> bool:
        """Test whether it says that orders are welcome."""
        assert self.child.process.poll() is None, self.log_text()
        try:
            return self.call("GET", "/readyz")[0] == 200
        except (OSError, HTTPException):
            return False

    def log_text(self) -> str:
        """Return all that it logged so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def worker_pids(self) -> list[int]:
        """Return the processes that serve, oldest first."""
        children = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if int(parent) == self.child.pid and state != "Z":
                children.append(int(process.name))
        return sorted(children)

    def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Make one call on a connection of its own; return status, headers, body."""
        caller = HTTPConnection("127.0.0.1", self.port, timeout=15)
        sent = {"Authorization": f"Bearer {self.api_key}", **headers}
        if body is not None:
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
            sent.setdefault("Idempotency-Key", secrets.token_hex(8))
        try:
            caller.request(method, path, body, sent)
            answer = caller.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            caller.close()

    def given_stock(self, code: str, *, on_hand: int, price_minor: int = 250) -> None:
        """Add a SKU and receive its stock, through the API."""
        sku = {"code": code, "name": code, "price_minor": price_minor, "currency": "EUR"}
        self.must_post("/api/v1/skus", sku)
        self.must_post(f"/api/v1/stock/{code}/receipts", {"quantity": on_hand})

    def must_post(self, path: str, body: Any) -> None:
        """Post something, again as long as it is told 503, until it is done."""
        key = secrets.token_hex(8)
        # Right after an outage a pool may have several dead connections to find.
        for _ in range(10):
            status, _, answer = self.call("POST", path, body, **{"Idempotency-Key": key})
            if status != 503:
                break
            time.sleep(0.2)
        assert status == 201, answer

    def level_of(self, code: str) -> tuple[int, int]:
        """Return a SKU's units on hand and allocated, as the database has them."""
        ((on_hand, allocated),) = self.database.rows(
            "SELECT l.on_hand, l.allocated FROM inventory_stocklevel l"
            " JOIN inventory_sku s ON s.id = l.sku_id WHERE s.code = %s",
            code,
        )
        return on_hand, allocated


@contextmanager
def serving(
    database: Database, *, python: str = sys.executable, **settings: str
) -> Iterator[Server]:
    """Serve until the block ends; see Server."""
    server = Server(database, python=python, **settings)
    try:
        yield server
    finally:
        server.stop()
        server.log.unlink()

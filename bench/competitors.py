"""The services of the comparison: how each is made ready, started, called and counted."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from urllib.parse import unquote, urlsplit

from bench.filling import fill_goods
from bench.load import Target
from bench.sink import swallowing
from config.embedded import Child
from tests.commands.processes import PROJECT, free_port, wait_until
from tests.server import Database, serving

PEERS = PROJECT / "bench" / "peers"
# Peers have libraries that Sluice has not: `make bench` installs them beside it.
PEER_PROGRAMS = PROJECT / "bench" / ".venv" / "bin"
GIN = PROJECT / "bench" / ".venv" / "gin-peer"
# And `make bench` serves Sluice with what production installs; tests serve it with what they have.
SLUICE_PYTHON = os.environ.get("BENCH_PYTHON", sys.executable)
PROCESSES = 2
SKUS_MAX = 1_000
STOCK = 100_000_000


@dataclass(frozen=True, slots=True)
class Running:
    """
    A service that serves. pid: its first process, the others are below it.

    metrics_port: where it tells what it measures of itself, 0 for nowhere.
    """

    port: int
    pid: int
    place: Target
    metrics_port: int = 0


@dataclass(frozen=True, slots=True)
class Competitor:
    """
    One service of the comparison.

    tables: the name of what fill makes: its tables and its goods. serve: runs it on a filled
    database. count: a statement for the number of its orders. faults: a statement that returns a
    row for each thing that is wrong in its tables, none when all is well.
    """

    name: str
    tables: str
    fill: Callable[[Database], None]
    serve: Callable[[Database], AbstractContextManager[Running]]
    count: str
    faults: str


# --- Sluice --------------------------------------------------------------------------------------

SLUICE_FAULTS = """
SELECT 'stock and orders differ', s.code FROM inventory_sku s
  JOIN inventory_stocklevel l ON l.sku_id = s.id
  LEFT JOIN (SELECT sku, sum(quantity) AS units FROM orders_line GROUP BY sku) o
    ON o.sku = s.code
 WHERE l.allocated <> coalesce(o.units, 0) OR l.allocated > l.on_hand
UNION ALL
SELECT 'orders without key, event or movement', o.id::text FROM orders_order o
 WHERE NOT EXISTS (SELECT FROM events_event e WHERE e.aggregate_id = o.id::text)
    OR NOT EXISTS (SELECT FROM inventory_movement m WHERE m.order_id = o.id)
UNION ALL
SELECT 'accepted keys and orders differ', 'all' WHERE
  (SELECT count(*) FROM events_idempotencykey WHERE status = 201
     AND location LIKE '/api/v1/orders/%%') <> (SELECT count(*) FROM orders_order)
LIMIT 5
"""


def fill_sluice(database: Database) -> None:
    """Make the tables and the goods."""
    fill_goods(database, skus=SKUS_MAX, on_hand=STOCK)


@contextmanager
def serve_sluice(database: Database, **settings: str) -> Iterator[Running]:
    """Serve as in production, with everything on: metrics, a log line for each request."""
    metrics_port = free_port()
    everything = {"METRICS_BIND": f"127.0.0.1:{metrics_port}", "LOG_REQUESTS": "true"}
    with serving(database, python=SLUICE_PYTHON, **everything | settings) as server:
        # A shop's own key: who sees every account's orders is never read to from the cache.
        key = database.manage(
            "create_api_key", "--user", "shop", "--scope", "orders:read", "--scope", "orders:write"
        )
        place = Target(server.port, "sluice", "/api/v1/orders", key)
        yield Running(server.port, server.child.pid, place, metrics_port)


@contextmanager
def serve_sluice_traced(database: Database) -> Iterator[Running]:
    """Serve with a trace of every twentieth request."""
    with (
        swallowing() as collector,
        serve_sluice(
            database,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector,
            OTEL_TRACES_SAMPLER="parentbased_traceidratio",
            OTEL_TRACES_SAMPLER_ARG="0.05",
        ) as running,
    ):
        yield running


def sluice(name: str, serve: Callable[[Database], AbstractContextManager[Running]]) -> Competitor:
    """Return Sluice, served in some way."""
    return Competitor(
        name,
        "filled_sluice",
        fill_sluice,
        serve,
        "SELECT count(*) FROM orders_order",
        SLUICE_FAULTS,
    )


# --- The peers -----------------------------------------------------------------------------------

PEER_FAULTS = f"""
SELECT 'stock and orders differ', p.sku FROM product p
  LEFT JOIN (SELECT sku, sum(quantity) AS units FROM purchase GROUP BY sku) o USING (sku)
 WHERE {STOCK} - p.stock <> coalesce(o.units, 0)
LIMIT 5
"""
GUARANTEES_FAULTS = f"""
({PEER_FAULTS})
UNION ALL
SELECT 'keys, ledger, outbox and orders differ', 'all'
  FROM (SELECT count(*) AS orders FROM purchase) p
 WHERE orders <> (SELECT count(*) FROM idempotency WHERE status = 201)
    OR orders <> (SELECT count(*) FROM movement)
    OR orders <> (SELECT count(*) FROM outbox)
"""


def fill_peer(database: Database) -> None:
    """Make the tables of the peers and their goods."""
    with database.connect() as connection:
        connection.execute((PEERS / "schema.sql").read_text())
        connection.execute(
            "INSERT INTO product SELECT 'BENCH-' || n, 250, %s FROM generate_series(1, %s) n",
            [STOCK, SKUS_MAX],
        )
        connection.execute("VACUUM ANALYZE product")  # As bench.filling does.


@contextmanager
def serve_peer(database: Database, command: Callable[[int], list[str]]) -> Iterator[Running]:
    """Run a peer on a port of its own until the block ends."""
    port = free_port()
    redis = urlsplit(os.environ["REDIS_URL"])
    environment = os.environ | {
        "DATABASE_URL": database.url,
        "REDIS_ADDRESS": unquote(redis.path) if redis.scheme == "unix" else redis.netloc,
        "REDIS_PASSWORD": redis.password or "",
        "GOMAXPROCS": str(PROCESSES),
        "GIN_MODE": "release",
    }
    child = Child(
        command(port),
        stop_signals=(signal.SIGTERM, signal.SIGKILL),
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _answers(port), seconds=30)
        yield Running(port, child.pid, Target(port, "peer", "/orders"))
    finally:
        child.stop(5)


def _answers(port: int) -> bool:
    caller = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        caller.request("GET", "/livez")
        return caller.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        caller.close()


def flask_command(port: int) -> list[str]:
    """Two processes of threads, as many as their pools have connections."""
    return [
        str(PEER_PROGRAMS / "gunicorn"), "bench.peers.flask_peer:app", "-b", f"127.0.0.1:{port}",
        "-w", str(PROCESSES), "-k", "gthread", "--threads", "10", "--keep-alive", "20",
    ]  # fmt: skip


def fastapi_command(port: int) -> list[str]:
    """Two processes with uvloop and httptools."""
    return [
        str(PEER_PROGRAMS / "uvicorn"), "bench.peers.fastapi_peer:app", "--port", str(port),
        "--workers", str(PROCESSES), "--loop", "uvloop", "--http", "httptools", "--no-access-log",
        "--log-level", "warning",
    ]  # fmt: skip


def gin_command(port: int, *options: str) -> list[str]:
    """One process, as Go's are."""
    return [str(GIN), "-bind", f"127.0.0.1:{port}", *options]


def peer(name: str, command: Callable[[int], list[str]], faults: str = PEER_FAULTS) -> Competitor:
    """Return one of the peers."""
    return Competitor(
        name,
        "filled_peer",
        fill_peer,
        partial(serve_peer, command=command),
        "SELECT count(*) FROM purchase",
        faults,
    )


FLASK = peer("Flask", flask_command)
FASTAPI = peer("FastAPI", fastapi_command)
GIN_AS_PRINTED = peer("Gin, as printed", gin_command)
GIN_WITH_GUARANTEES = peer(
    "Gin, same guarantees", lambda port: gin_command(port, "-guarantees"), GUARANTEES_FAULTS
)
SLUICE = sluice("Sluice", serve_sluice)
SLUICE_CACHED = sluice("Sluice, orders.get v2", partial(serve_sluice, ORDERS_GET_VERSION="v2"))
SLUICE_TRACED = sluice("Sluice, tracing 5 %", serve_sluice_traced)

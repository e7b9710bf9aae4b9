"""
How many one-line orders a second: both versions, on 1,000 SKUs and on one.

python -m config.embedded exec -- python -m bench.first_figure [SECONDS]

wrk keeps 100 connections busy; every order is authenticated, has a key of its own and is looked
for in the database afterwards. Load and server share the machine: compare within one run only.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.server import Database, Server, fresh_database, serving

SCRIPT = Path(__file__).parent / "orders.lua"
CONNECTIONS = 100
SKU_COUNTS = (1_000, 1)


@dataclass(frozen=True, slots=True)
class Figure:
    """
    What one run of wrk measured; requests and durations are its own.

    committed: orders in the database. refused: answers that were not 201. lost: no answer.
    """

    version: str
    skus: int
    orders: int
    seconds: float
    p50_ms: float
    p95_ms: float
    refused: int
    lost: int
    committed: int

    @property
    def per_second(self) -> float:
        """Orders acknowledged per second."""
        return self.orders / self.seconds

    def __str__(self) -> str:
        return (
            f"{self.version}  {self.skus:>5} SKUs  {self.per_second:>7.0f} orders/s"
            f"  p50 {self.p50_ms:>6.1f} ms  p95 {self.p95_ms:>6.1f} ms"
            f"  not 201: {self.refused + self.lost}"
        )


def measure(seconds: int) -> Iterator[Figure]:
    """Measure each version on each number of SKUs, on one database."""
    with fresh_database(os.environ["DATABASE_URL"]) as database:
        _fill(database)
        for version in ("v1", "v2"):
            with serving(database, ORDERS_PLACE_VERSION=version) as server:
                for skus in SKU_COUNTS:
                    _run(server, skus, 2)  # Warm up: connections, prepared statements.
                    yield _figure(server, version, skus, seconds)
        database.assert_balanced()


def _fill(database: Database) -> None:
    with serving(database) as server:
        for n in range(1, max(SKU_COUNTS) + 1):
            server.given_stock(f"BENCH-{n}", on_hand=10_000_000)


def _figure(server: Server, version: str, skus: int, seconds: int) -> Figure:
    before = _count_orders(server.database)
    orders, duration_us, p50_us, p95_us, refused, lost = _run(server, skus, seconds)
    committed = _count_orders(server.database) - before
    return Figure(
        version,
        skus,
        orders,
        duration_us / 1e6,
        p50_us / 1e3,
        p95_us / 1e3,
        refused,
        lost,
        committed,
    )


def _count_orders(database: Database) -> int:
    """Return how many orders there are when no more come: wrk hangs up on its last requests."""
    count = -1
    while count != (count := database.value("SELECT count(*) FROM orders_order")):
        time.sleep(1)
    return count


def _run(server: Server, skus: int, seconds: int) -> list[int]:
    seed = secrets.token_hex(4)
    command = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout=15s", "-s", SCRIPT]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}", "--", server.api_key, str(skus), seed],
        capture_output=True,
        text=True,
        check=True,
    )
    (result,) = (line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    return [int(word) for word in result.split()[1:]]


def table(figures: list[Figure]) -> str:
    """Return the figures as lines, and how far v2 is ahead on one hot SKU."""
    hot = {figure.version: figure.per_second for figure in figures if figure.skus == 1}
    ratio = f"one hot SKU: v2 is {hot['v2'] / hot['v1']:.1f} × v1 (expected: 5 × or more)"
    return "\n".join([*map(str, figures), ratio])


if __name__ == "__main__":
    print(table(list(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 15))))

"""An export of many orders, from the real server: flat memory, at the speed of PostgreSQL."""

import os
import re
import threading
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import psycopg
import pytest

from orders.exporting import AS_DOCUMENTS, AS_ROWS, FIRST_ID
from tests.server import Server, fresh_database, serving

ORDERS = 100_000
GROWTH_KB_MAX = 20 * 1024

FILL = """
INSERT INTO orders_order
       (id, number, account_id, customer, reference, status, payment_status, fulfillment_status,
        currency, subtotal_minor, charges, total_minor, served_version, trace_id, placed_at,
        updated_at, version)
SELECT lpad(to_hex(n), 32, '0')::uuid, 10000000 + n,
       (SELECT id FROM auth_user WHERE username = 'shop'),
       'c-' || n %% 1000, 'shop-' || n, 'placed', 'unpaid', 'unfulfilled', 'EUR', 750,
       '[{"code": "postage", "name": "Postage", "amount_minor": 495}]', 1245, 'v2', '', now(),
       now(), 1
  FROM generate_series(1, %s) AS n
"""
FILL_LINES = """
INSERT INTO orders_line (order_id, position, sku, quantity, unit_price_minor, total_minor)
SELECT id, p, 'SKU-' || p, 1 + p, 250, 250 * (1 + p) FROM orders_order, generate_series(0, 1) AS p
"""
EVERYTHING = {
    "after": FIRST_ID,
    "last": "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "account": None,
    "placed_after": None,
    "placed_before": None,
}


@pytest.fixture(scope="module")
def server():
    with (
        fresh_database(os.environ["DATABASE_URL"]) as database,
        serving(database, WEB_CONCURRENCY="1") as server,
    ):
        with database.connect() as connection:
            connection.execute(FILL, (ORDERS,))
            connection.execute(FILL_LINES)
            connection.execute("ANALYZE orders_order, orders_line")
        yield server


def rss_kb(pid: int) -> int:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


@contextmanager
def watched(pid: int):
    """Yield a list that has, afterwards, what a process grew by at most, in KiB."""
    before, highest, stop = rss_kb(pid), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            highest[0] = max(highest[0], rss_kb(pid) - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield highest
    finally:
        stop.set()
        watcher.join()


def download(server: Server, query: str) -> tuple[int, int, float]:
    """Return the lines and bytes of an export, and the seconds it took."""
    began = time.monotonic()
    caller = HTTPConnection("127.0.0.1", server.port, timeout=120)
    caller.request(
        "GET",
        f"/api/v1/orders/export?{query}",
        headers={"Authorization": f"Bearer {server.api_key}"},
    )
    answer = caller.getresponse()
    assert answer.status == 200, answer.read()
    lines = size = 0
    while block := answer.read(65536):
        lines += block.count(b"\n")
        size += len(block)
    caller.close()
    assert size == int(answer.headers["Content-Length"])
    return lines, size, time.monotonic() - began


def bare_copy(server: Server, query: str) -> float:
    """Return how long the same rows take by one COPY, read and thrown away."""
    began = time.monotonic()
    with (
        server.database.connect() as connection,
        psycopg.ClientCursor(connection) as cursor,
        cursor.copy(f"COPY ({query}) TO STDOUT WITH (FORMAT csv)", EVERYTHING) as rows,
    ):
        for _ in rows:
            pass
    return time.monotonic() - began


@pytest.mark.prove
class ExportMemoryTests:
    @pytest.mark.parametrize(
        ("form", "query", "lines"),
        [("csv", AS_ROWS, 2 * ORDERS + 1), ("ndjson", AS_DOCUMENTS, ORDERS)],
    )
    def test_a_worker_stays_flat_while_it_exports(self, server, form, query, lines):
        download(server, f"format={form}&limit=2000")  # What a first export loads, once.
        (worker,) = server.worker_pids()

        with watched(worker) as grown:
            told, size, seconds = download(server, f"format={form}")
        bare = bare_copy(server, query)

        print(  # noqa: T201
            f"{form}: {ORDERS:,} orders, {size / 1e6:.0f} MB in {seconds:.1f} s, "
            f"bare COPY {bare:.1f} s; RSS +{grown[0] / 1024:.1f} MiB"
        )
        assert told == lines
        assert grown[0] < GROWTH_KB_MAX

    def test_orders_are_placed_while_it_exports(self, server):
        server.given_stock("CUP", on_hand=1000)
        exporting = threading.Thread(target=download, args=(server, "format=ndjson"))
        exporting.start()
        slowest = 0.0
        placed = 0
        while exporting.is_alive():
            began = time.monotonic()
            body = {"customer": "c", "lines": [{"sku": "CUP", "quantity": 1}]}
            server.must_post("/api/v1/orders", body)
            slowest = max(slowest, time.monotonic() - began)
            placed += 1
            time.sleep(0.05)
        exporting.join()

        print(f"{placed} orders beside an export, the slowest {slowest:.2f} s")  # noqa: T201
        assert placed > 5

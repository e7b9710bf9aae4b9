"""A row stays locked, or connections run out: who needs them is refused early, nothing moves."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.load import Address
from tests.server import Database, Server, fresh_database, serving
from tests.stalls import Stalls
from tests.steady import SteadyOrders

POOL_S = 3
# What a lock that is not had may cost those who come just then.
WAIT_S = 0.025


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with fresh_database(os.environ["DATABASE_URL"]) as fresh:
        yield fresh


@contextmanager
def locked(database: Database, code: str) -> Iterator[None]:
    """Keep the stock of a SKU locked, as a forgotten session would."""
    with database.connect() as theirs, theirs.transaction():
        theirs.execute(
            "SELECT 1 FROM inventory_stocklevel l JOIN inventory_sku s ON s.id = l.sku_id"
            " WHERE s.code = %s FOR UPDATE OF l",
            (code,),
        )
        yield


def orders_of(server: Server, code: str, *, rate: float) -> SteadyOrders:
    server.given_stock(code, on_hand=1_000_000)
    return SteadyOrders(Address(server.port, server.api_key), code, rate=rate, callers=8)


def report(what: str, load: SteadyOrders) -> None:
    print(  # noqa: T201 - what a proof says is read
        f"\n{what}: {load.total} asked, {dict(load.refused)} refused, {load.percentiles()}"
    )


@pytest.mark.prove
class HotRowTests:
    def test_orders_of_other_goods_go_on_as_before(self, database: Database) -> None:
        # So many that a moment in which the machine stands still is no hundredth of them.
        seconds, rate = 30, 200
        with serving(database) as server:
            others = orders_of(server, "COLD", rate=rate)
            hot = orders_of(server, "HOT", rate=rate / 4)
            others.run(lambda: time.sleep(seconds))
            report("before", others)
            p99_before_s = others.percentile_s(99)
            others.again()

            def lock() -> None:
                with locked(database, "HOT"):
                    beside = threading.Thread(target=hot.run, args=(lambda: time.sleep(seconds),))
                    beside.start()
                    time.sleep(seconds)
                beside.join()

            with Stalls(database).watched() as stalls:
                others.run(lock)
            report("others, while one row is locked", others)
            report("of the locked row", hot)
            assert stalls.without_reason(others) == {}
            assert others.percentile_s(99) <= 2 * p99_before_s + WAIT_S
            assert set(hot.refused) <= {"503 temporarily_unavailable"}
            assert hot.refused
            hot.again()
            with Stalls(database).watched() as stalls:
                hot.run(lambda: time.sleep(1))
            assert stalls.without_reason(hot) == {}
            database.assert_balanced()


@pytest.mark.prove
class PoolTests:
    def test_that_others_have_used_up_refuses_early(self, database: Database) -> None:
        limits = {
            "DB_POOL_SIZE": "2",
            "DB_POOL_TIMEOUT_S": str(POOL_S),
            "DB_LOCK_TIMEOUT_MS": "20000",
            "DB_STATEMENT_TIMEOUT_MS": "20000",
        }
        with serving(database, WEB_CONCURRENCY="1", **limits) as server:
            load = orders_of(server, "WANTED", rate=20)
            server.given_stock("STUCK", on_hand=1)
            placed_before = database.value("SELECT count(*) FROM orders_order")
            with ThreadPoolExecutor() as beside, locked(database, "STUCK"):
                stuck = [beside.submit(self.receive, server) for _ in range(2)]
                while self.who_wait(database) < 2:
                    time.sleep(0.05)

                load.run(lambda: time.sleep(2 * POOL_S))

                report("without a connection", load)
                assert database.value("SELECT count(*) FROM orders_order") == placed_before
            assert [one.result() for one in stuck] == [201, 201]
            assert load.placed == {}
            assert set(load.refused) == {"503 temporarily_unavailable"}
            # 1.2 times the time-out, where two in a row would be 2.
            assert load.seconds_max < 1.6 * POOL_S
            load.again()
            with Stalls(database).watched() as stalls:
                load.run(lambda: time.sleep(1))
            assert stalls.without_reason(load) == {}
            database.assert_balanced()

    @staticmethod
    def receive(server: Server) -> int:
        return server.call("POST", "/api/v1/stock/STUCK/receipts", {"quantity": 1})[0]

    @staticmethod
    def who_wait(database: Database) -> int:
        waiting: int = database.value("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return waiting

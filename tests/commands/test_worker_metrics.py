"""What a worker measures of itself."""

import gc
import os

import pytest
from prometheus_client import REGISTRY, Gauge
from psycopg_pool import ConnectionPool, PoolTimeout

from config.pools import use_the_last_first
from config.worker_metrics import CpuTime, GcPauses, MeasuredPool, show_memory
from tests.measured import told


class GcPausesTests:
    def test_are_counted_by_generation_after_they_happened(self):
        name, before = "worker_gc_pause_seconds_count", told()
        pauses = GcPauses()
        gc.callbacks.append(pauses.note)
        try:
            gc.collect(1)
            gc.collect(2)
            gc.collect(2)
        finally:
            gc.callbacks.remove(pauses.note)
        assert told().value(name) == before.value(name)

        pauses.count()

        after = told()
        assert after.value(name, generation="1") - before.value(name, generation="1") == 1
        assert after.value(name, generation="2") - before.value(name, generation="2") == 2


class CpuTimeTests:
    def test_only_grows(self):
        before = told()
        time = CpuTime()

        sum(range(2_000_000))
        time.count()

        assert told().value("worker_cpu_seconds_total") > before.value("worker_cpu_seconds_total")


class MemoryTests:
    def test_is_that_of_this_process(self):
        show_memory()

        assert 20e6 < told().value("worker_memory_pss_bytes") < 2e9
        assert 20e6 < told().value("worker_memory_rss_bytes") < 2e9


class PoolTests:
    def test_shows_who_waits_for_a_connection_and_who_got_none(self):
        before = told()
        nowhere = "host=127.0.0.1 port=1 connect_timeout=1"
        with ConnectionPool(nowhere, min_size=1, max_size=3, open=False, timeout=0.05) as pool:
            measured = MeasuredPool(pool)
            with pytest.raises(PoolTimeout):
                pool.getconn()
            measured.show()
            measured.show()

        after = told()
        waits = "database_pool_wait_seconds_count"
        assert after.value(waits) - before.value(waits) == 1
        refused = "database_pool_refusals_total"
        assert after.value(refused) - before.value(refused) == 1
        assert after.value("database_pool_size_max") == 3

    def test_gives_the_connection_that_was_used_last(self, warm_pool):
        first, second, third = taken(warm_pool, 3)
        for connection in (second, third, first):
            warm_pool.putconn(connection)

        assert taken(warm_pool, 3) == [first, third, second]

    def test_gives_one_that_grew_too_old_while_it_rested_to_be_replaced(self, warm_pool):
        first, second, third = taken(warm_pool, 3)
        for connection in (first, second, third):
            warm_pool.putconn(connection)
        first._expire_at = 0

        assert taken(warm_pool, 2) == [first, third]

    def test_closes_what_has_rested_longest_when_there_are_too_many(self, warm_pool):
        first, second, third = taken(warm_pool, 3)
        for connection in (first, second, third):
            warm_pool.putconn(connection)
        warm_pool._nconns_min = 1  # So many rested all the time.

        warm_pool._shrink_pool()

        assert [first.closed, second.closed, third.closed] == [True, False, False]
        assert taken(warm_pool, 1) == [third]


@pytest.fixture
def warm_pool():
    with ConnectionPool(os.environ["DATABASE_URL"], min_size=1, max_size=3) as pool:
        use_the_last_first(pool)
        yield pool


def taken(pool, count):
    return [pool.getconn() for _ in range(count)]


class GaugesTests:
    def test_speak_of_processes_that_live(self):
        """Any other mode would keep what a dead worker said, or name workers by their number."""
        modes = {
            gauge._name: gauge._multiprocess_mode
            for gauge in set(REGISTRY._names_to_collectors.values())
            if isinstance(gauge, Gauge) and not gauge._name.startswith("django_")
        }

        assert modes["workers"] == "livesum"
        assert {name for name, mode in modes.items() if not mode.startswith("live")} == set()

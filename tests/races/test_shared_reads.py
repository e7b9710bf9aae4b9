"""Many who read at once share their trips, and each gets what is its own."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from config import cache
from config.cache import MISSED, SharedReads
from tests.commands.processes import wait_until

VALUES = {f"k{n}": n for n in range(50)}


class Redis:
    """Answers slowly, and counts how often it is asked."""

    def __init__(self, *, trip_s=0.02):
        self.trip_s = trip_s
        self.trips = []

    def read(self, keys):
        self.trips.append(set(keys))
        time.sleep(self.trip_s)
        return {key: VALUES[key] for key in keys if key in VALUES}


def read_at_once(shared, redis, keys):
    """Let a thread for each key ask at the same moment; return what they got."""
    start = threading.Barrier(len(keys))

    def ask(key):
        start.wait()
        return shared.get(key, redis.read)

    with ThreadPoolExecutor(len(keys)) as threads:
        return list(threads.map(ask, keys))


def share_a_trip(shared):
    """Let two share a trip, since a third is under way while they come."""
    with ThreadPoolExecutor() as threads:

        def read_when_both_wait(keys):
            if not waiting:
                waiting.extend(threads.submit(shared.get, key, trip) for key in ("k2", "k3"))
                wait_until(lambda: len(shared._wishes) == 2)
            return {key: VALUES[key] for key in keys}

        waiting, trip = [], read_when_both_wait
        assert shared.get("k1", trip) == 1
        assert [one.result() for one in waiting] == [2, 3]


def ask_for_k5(threads, shared, redis):
    """Let another ask for k5; return what it will get, once it waits for who leads."""
    other = threads.submit(shared.get, "k5", redis.read)
    wait_until(lambda: shared._wishes)
    return other


def meanwhile(monkeypatch, act):
    """Have act called where a leader lets others come."""
    monkeypatch.setattr(cache, "time", SimpleNamespace(sleep=lambda _: act()))


class SharedReadsTests:
    def test_each_gets_its_own_value_by_few_trips(self):
        shared, redis = SharedReads(), Redis()

        found = read_at_once(shared, redis, [*VALUES, "nothing", "k7"])

        assert found == [*VALUES.values(), MISSED, 7]
        assert len(redis.trips) <= 6
        assert set().union(*redis.trips) == {*VALUES, "nothing"}

    def test_one_alone_waits_for_nobody(self):
        shared, redis = SharedReads(), Redis(trip_s=0)

        assert [shared.get(f"k{n}", redis.read) for n in range(5)] == [0, 1, 2, 3, 4]
        assert redis.trips == [{f"k{n}"} for n in range(5)]

    def test_where_some_shared_a_trip_others_are_let_in_before_the_next(self, monkeypatch):
        shared, redis = SharedReads(), Redis()
        share_a_trip(shared)

        with ThreadPoolExecutor() as threads:
            others = []
            meanwhile(monkeypatch, lambda: others.append(ask_for_k5(threads, shared, redis)))

            assert shared.get("k4", redis.read) == 4
            assert others[0].result() == 5
        assert redis.trips == [{"k4", "k5"}]

    def test_a_reader_that_dies_while_it_lets_others_in_takes_nobody_with_it(self, monkeypatch):
        shared, redis = SharedReads(), Redis()
        share_a_trip(shared)

        with ThreadPoolExecutor() as threads:
            others = []

            def die_before_another():
                if others:
                    return
                others.append(ask_for_k5(threads, shared, redis))
                raise SystemExit

            meanwhile(monkeypatch, die_before_another)
            with pytest.raises(SystemExit):
                shared.get("k4", redis.read)
            assert others[0].result() == 5
        assert redis.trips == [{"k5"}]

    def test_who_reads_later_reads_what_was_written_meanwhile(self):
        shared, slow = SharedReads(), Redis(trip_s=0.2)
        written = threading.Event()

        with ThreadPoolExecutor() as threads:
            first = threads.submit(shared.get, "k1", slow.read)
            while not slow.trips:
                time.sleep(0.001)
            written.set()
            second = threads.submit(
                shared.get, "k1", lambda keys: dict.fromkeys(keys, "new" if written else "old")
            )

            assert (first.result(), second.result()) == (1, "new")

    def test_a_reader_that_dies_takes_nobody_with_it(self):
        shared, redis = SharedReads(), Redis()
        is_reading = threading.Event()

        def die(keys):
            is_reading.set()
            time.sleep(0.05)
            raise SystemExit

        def lead():
            with pytest.raises(SystemExit):
                shared.get("k1", die)

        dying = threading.Thread(target=lead)
        dying.start()
        is_reading.wait()
        assert read_at_once(shared, redis, ["k2", "k3"]) == [2, 3]
        dying.join()
        assert shared.get("k4", redis.read) == 4

    def test_nobody_waits_for_ever(self, monkeypatch):
        monkeypatch.setattr(cache, "SHARED_WAIT_S_MAX", 0.05)
        shared, hung, redis = SharedReads(), Redis(trip_s=0.3), Redis()

        with ThreadPoolExecutor() as threads:
            leading = threads.submit(shared.get, "k1", hung.read)
            while not hung.trips:
                time.sleep(0.001)

            assert read_at_once(shared, redis, ["k2", "k3"]) == [MISSED, MISSED]
            assert leading.result() == 1
        assert shared.get("k2", redis.read) == 2

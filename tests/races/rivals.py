"""Two threads that do something at the same moment, again and again; the books in the end."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from config.errors import AppError
from events.usecases import Answer
from inventory.usecases import adjust_stock
from tests.builders import NOON, TESTER, a_request, discrepancies, given_account, level_of

# Who is second starts so much later, in turns, so that both get to win. On a busy machine a thread
# may be late by more than the short one: the long one, in two rounds of ten, lets the first win.
HEAD_START_S, LONG_HEAD_START_S = 0.004, 0.05


class Rivals:
    """Two threads with connections of their own, race after race."""

    rounds: int

    def setUp(self):
        self.account = given_account()
        self.threads = ThreadPoolExecutor(2)
        self.barrier = threading.Barrier(2)
        self.deadlocks = deadlocks()
        self.told = Counter()

    def at_once(self, *works: Callable[[], object], number: int) -> list[object]:
        """Return what two works returned or were refused with, in their order."""
        is_long = number % 10 < 2
        head_start_s = LONG_HEAD_START_S if is_long else HEAD_START_S * random.random()

        def run(n, work):
            self.barrier.wait()
            time.sleep(head_start_s * (n == number % 2))
            try:
                return work()
            except AppError as refusal:
                return refusal

        return list(self.threads.map(run, range(2), works))

    def assert_nothing_was_lost(self):
        # One at a time: each thread closes its own connection, which hands in what it counted.
        both = threading.Barrier(2)
        list(self.threads.map(lambda _: (both.wait(), connection.close()), range(2)))
        self.threads.shutdown()
        self.assertEqual(discrepancies(), [])
        self.assertEqual(deadlocks(), self.deadlocks)

    def adjust(self, delta, sku="CUP", location="main"):
        return adjust_stock(
            request=a_request(),
            sku=sku,
            delta=delta,
            reason="loss",
            location=location,
            provenance=TESTER,
            now=NOON,
        )

    def stock(self, code, location="main"):
        level = level_of(code, location)
        return level.on_hand, level.allocated


def deadlocks() -> int:
    """Return how many deadlocks the database has seen."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return cursor.fetchone()[0]


def names(outcomes) -> tuple[str, ...]:
    """Return for each outcome done, or the name of its refusal."""
    return tuple("done" if isinstance(one, Answer) else type(one).__name__ for one in outcomes)

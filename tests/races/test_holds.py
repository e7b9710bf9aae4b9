"""Holds that are ordered, extended, swept and competed for at the same moment."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import override_settings

from events.usecases import Answer
from inventory.models import Hold, HoldLine
from inventory.usecases import expire_holds, extend_hold
from orders.placement import place_together
from orders.reconciliation import find_discrepancies
from tests.builders import (
    NOON,
    TESTER,
    a_placement,
    a_request,
    given_account,
    given_hold,
    given_stock,
    level_of,
)
from tests.committed import CommittedTestCase

# The wanted 500 of each are in the night's run; here as many as a busy machine has time for.
ROUNDS, ROUNDS_OF_A_NIGHT = 100, 500


class Runners:
    """Threads that do one thing each at the same moment, again and again."""

    def __init__(self, count: int) -> None:
        self.start = threading.Barrier(count + 1)
        self.end = threading.Barrier(count + 1)
        self.work: list[Callable[[], Any] | None] = [None] * count
        self.told: list[Any] = [None] * count
        self.threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, n: int) -> None:
        while True:
            self.start.wait(60)
            work = self.work[n]
            if work is None:
                # Its last words to the server's statistics are said when it goes.
                connection.close()
                return
            try:
                self.told[n] = work()
            except Exception as refusal:  # noqa: BLE001 - what it was told, like an answer
                self.told[n] = refusal
            self.end.wait(60)

    def race(self, *work: Callable[[], Any]) -> list[str]:
        """Do all at once; return what each was told: ok, or the code of its refusal."""
        idle = [lambda: None] * (len(self.work) - len(work))
        self.work = [*work, *idle]
        self.start.wait(60)
        self.end.wait(60)
        return [
            getattr(told, "code", repr(told)) if isinstance(told, Exception) else "ok"
            for told in self.told[: len(work)]
        ]

    def stop(self) -> None:
        """Let the threads go."""
        self.work = [None] * len(self.threads)
        self.start.wait(60)
        for thread in self.threads:
            thread.join(60)


def deadlocks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return cursor.fetchone()[0]


@override_settings(HOLD_UNITS_MAX=10**9, HOLDS_OPEN_MAX=10**9)
class HoldRacesTestCase(CommittedTestCase):
    def setUp(self):
        self.account = given_account()
        self.deadlocks_before = deadlocks()
        self.runners = Runners(3)

    def tearDown(self):
        self.runners.stop()
        connection.close()
        self.assertEqual(list(find_discrepancies()), [])
        self.assertEqual(deadlocks(), self.deadlocks_before)

    def order(self, units, **more):
        placement = a_placement(units, account=self.account, **more)

        def place() -> Answer:
            (told,) = place_together([placement])
            if isinstance(told, Exception):
                raise told
            return told

        return place

    def extend(self, hold_id):
        return lambda: extend_hold(
            hold_id,
            request=a_request(account_id=self.account.pk),
            expires_in_s=600,
            now=NOON,
        )

    def sweep(self):
        return expire_holds(provenance=TESTER, now=NOON)

    def let_end_in(self, hold_id, ms):
        deadline = Now() + timedelta(milliseconds=ms)
        Hold.objects.filter(pk=hold_id).update(expires_at=deadline)
        end = Hold.objects.get(pk=hold_id).expires_at
        HoldLine.objects.filter(hold=hold_id).update(expires_at=end)

    def state_of(self, hold_id):
        return Hold.objects.get(pk=hold_id).state


class Races:
    rounds: int

    def test_two_orders_on_one_hold(self):
        given_stock("CUP", on_hand=self.rounds)
        for _ in range(self.rounds):
            hold_id = given_hold({"CUP": 1}, account=self.account)

            told = self.runners.race(
                self.order({"CUP": 1}, hold=hold_id), self.order({"CUP": 1}, hold=hold_id)
            )

            self.assertEqual(sorted(told), ["hold_not_live", "ok"])
        self.assertEqual(level_of("CUP").allocated, self.rounds)

    def test_an_order_on_a_hold_that_expires(self):
        given_stock("CUP", on_hand=self.rounds)
        seen = Counter()
        for n in range(self.rounds):
            hold_id = given_hold({"CUP": 1}, account=self.account)
            self.let_end_in(hold_id, n % 5)

            order, _ = self.runners.race(self.order({"CUP": 1}, hold=hold_id), self.sweep)

            self.sweep()
            expected = {"ok": "converted", "hold_not_live": "expired"}
            if self.state_of(hold_id) != "live":  # Its deadline may be yet to come.
                self.assertEqual(self.state_of(hold_id), expected[order])
            seen[order] += 1
        self.assertEqual(level_of("CUP").allocated, seen["ok"])
        self.assertEqual(seen.total(), self.rounds)

    def test_an_extension_of_a_hold_that_is_swept(self):
        given_stock("CUP", on_hand=self.rounds)
        for n in range(self.rounds):
            hold_id = given_hold({"CUP": 1}, account=self.account)
            self.let_end_in(hold_id, n % 5)

            extended, _ = self.runners.race(self.extend(hold_id), self.sweep)

            if extended == "ok":
                self.assertEqual(self.state_of(hold_id), "live")
                self.assertTrue(HoldLine.objects.get(hold=hold_id).is_open)
            else:
                self.assertEqual(extended, "hold_not_live")
                self.sweep()
                self.assertEqual(self.state_of(hold_id), "expired")

    def test_a_hold_and_an_order_for_the_last_unit(self):
        for n in range(self.rounds):
            given_stock(f"LAST-{n}", on_hand=1)

            told = self.runners.race(
                lambda n=n: given_hold({f"LAST-{n}": 1}, account=self.account),
                self.order({f"LAST-{n}": 1}),
            )

            self.assertEqual(sorted(told), ["insufficient_stock", "ok"])
            level = level_of(f"LAST-{n}")
            self.assertEqual(level.held + level.allocated, 1)

    def test_expired_holds_that_everybody_needs_at_once(self):
        for n in range(self.rounds):
            cup, pot = f"CUP-{n}", f"POT-{n}"
            given_stock(cup, on_hand=2)
            given_stock(pot, on_hand=2)
            holds = [given_hold({cup: 1, pot: 1}, account=self.account) for _ in range(2)]
            for hold_id in holds:
                self.let_end_in(hold_id, -1)

            told = self.runners.race(self.order({cup: 2}), self.order({pot: 1}), self.sweep)

            self.assertEqual(told, ["ok", "ok", "ok"])
            self.sweep()
            self.assertEqual({self.state_of(hold_id) for hold_id in holds}, {"expired"})
            self.assertEqual((level_of(cup).allocated, level_of(pot).allocated), (2, 1))


@pytest.mark.prove
@pytest.mark.paired
class HoldRacesTests(Races, HoldRacesTestCase):
    rounds = ROUNDS


@pytest.mark.soak
class ManyHoldRacesTests(Races, HoldRacesTestCase):
    rounds = ROUNDS_OF_A_NIGHT

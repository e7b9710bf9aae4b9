"""What Prometheus is told of orders, stock, keys and events."""

from io import StringIO

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import TestCase

from events.usecases import IdempotencyKeyReused, show_waiting
from orders.models import Reconciliation
from orders.reconciliation import show_last_run
from orders.usecases import OrderInvalid, place_orders
from rollout.codepath import override
from tests.builders import a_placement, given_account, given_stock, place
from tests.committed import CommittedTestCase
from tests.measured import Grown, told


class PlacementMetricsTests(CommittedTestCase):
    def setUp(self):
        self.account = given_account()
        given_stock("CUP", on_hand=10)
        self.grown = Grown()

    def test_count_an_order_its_batch_and_its_locks(self):
        place({"CUP": 2}, account=self.account)  # Too many of ten to leave the lock for the end.

        assert self.grown.by("orders_placed_total") == 1
        assert self.grown.by("orders_batch_size_sum") == 1
        assert self.grown.by("orders_batch_wait_seconds_count") == 1
        assert self.grown.by("orders_batch_duration_seconds_count") == 1
        assert self.grown.by("inventory_lock_wait_seconds_count") == 1

    def test_count_orders_that_one_call_brings_as_one_batch(self):
        place_orders([a_placement({"CUP": 1}, account=self.account) for _ in range(3)])

        assert self.grown.by("orders_placed_total") == 3
        assert self.grown.by("orders_batch_size_sum") == 3
        assert self.grown.by("orders_batch_size_count") == 1

    def test_count_refusals_by_their_code(self):
        placements = [a_placement({sku: 11}, account=self.account) for sku in ("CUP", "NO-SUCH")]

        told_each = place_orders(placements)

        assert isinstance(told_each[1], OrderInvalid)
        assert self.grown.by("orders_refused_total", code="insufficient_stock") == 1
        assert self.grown.by("orders_refused_total", code="validation_failed") == 1
        assert self.grown.by("orders_placed_total") == 0

    def test_count_a_repeat_as_a_replay_and_not_as_an_order(self):
        with override(orders_place="v1"):
            place({"CUP": 1}, account=self.account, key="once")
            place({"CUP": 1}, account=self.account, key="once")
            with pytest.raises(IdempotencyKeyReused):
                place({"CUP": 2}, account=self.account, key="once")

        assert self.grown.by("orders_placed_total") == 1
        assert self.grown.by("idempotency_replays_total", told="answer") == 1
        assert self.grown.by("idempotency_replays_total", told="refusal") == 0

    def test_show_how_long_events_wait_for_a_relay(self):
        show_waiting()
        before = told().value("events_outbox_depth")

        place({"CUP": 1}, account=self.account)
        show_waiting()

        assert told().value("events_outbox_depth") == before + 1
        # Placed at noon of another day: see tests.builders.
        assert told().value("events_outbox_age_seconds") > 3600

    def test_show_what_the_books_were_like_when_they_were_compared(self):
        show_last_run()
        place({"CUP": 1}, account=self.account)

        call_command("reconcile", "--quiet")
        show_last_run()
        assert told().value("inventory_invariant_violations") == 0
        ran_at = Reconciliation.objects.get().ran_at
        assert told().value("inventory_reconciled_at_seconds") == pytest.approx(ran_at.timestamp())

        with connection.cursor() as cursor:
            cursor.execute("UPDATE inventory_stocklevel SET allocated = 0")
        with pytest.raises(CommandError):
            call_command("reconcile", "--quiet", stdout=StringIO())
        show_last_run()
        assert told().value("inventory_invariant_violations") > 0


class CacheMetricsTests(TestCase):
    def test_count_hits_and_misses(self):
        cache.set("here", 1)
        grown = Grown()

        assert cache.get("here") == 1
        assert cache.get("gone", default=7) == 7
        assert cache.get_many(["here", "gone", "lost"]) == {"here": 1}

        assert grown.by("django_cache_get_total") == 5
        assert grown.by("django_cache_get_hits_total") == 2
        assert grown.by("django_cache_get_misses_total") == 3

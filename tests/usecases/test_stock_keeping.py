"""Quarantine, counts, policies and locations: what a stock keeper does besides."""

from django.db import connection
from django.test import TestCase

from events.usecases import TemporarilyUnavailable
from inventory import usecases
from inventory.models import Allocation, Location, Movement, Sku
from orders.usecases import InsufficientStock
from rollout.codepath import override
from tests.builders import (
    NOON,
    TESTER,
    a_request,
    discrepancies,
    given_account,
    given_location,
    given_sku,
    given_stock,
    given_units,
    level_of,
    place,
    what_moved,
)
from tests.committed import CommittedTestCase


class StockTestCase(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        given_stock("CUP", on_hand=10)

    def tearDown(self):
        self.assertEqual(discrepancies(), [])

    def order(self, units, **more):
        place({"CUP": units}, account=given_account(), **more)

    def policy(self, **policy):
        return usecases.set_policy("CUP", location="main", provenance=TESTER, now=NOON, **policy)

    def assert_refused(self, refusal, work, *, is_kept=True):
        before = what_moved()
        with self.assertRaises(refusal):
            work()
        kept = {"answered_keys": before["answered_keys"] + 1} if is_kept else {}
        self.assertEqual(what_moved(), before | kept)


class QuarantineTests(StockTestCase):
    def quarantine(self, delta):
        usecases.quarantine_stock(
            request=a_request(),
            sku="CUP",
            delta=delta,
            reason="inspection",
            note="smells",
            provenance=TESTER,
            now=NOON,
        )

    def test_what_is_in_quarantine_is_not_sold(self):
        self.quarantine(4)

        self.assert_refused(InsufficientStock, lambda: self.order(7))
        self.order(6)

    def test_comes_back_into_sale(self):
        self.quarantine(4)

        self.quarantine(-4)

        self.order(10)
        self.assertEqual(Movement.objects.filter(kind="quarantine").count(), 2)
        self.assertEqual(Movement.objects.filter(note="smells").count(), 2)

    def test_promised_units_in_quarantine_show_as_shortfall(self):
        self.order(8)

        self.quarantine(4)

        self.assertEqual(level_of("CUP").shortfall, 2)

    def test_refuses_more_than_is_there_and_fewer_than_none(self):
        self.assert_refused(usecases.QuarantineOutOfRange, lambda: self.quarantine(11))
        self.assert_refused(usecases.QuarantineOutOfRange, lambda: self.quarantine(-1))


class CountTests(StockTestCase):
    def count(self, counted, expected=None):
        usecases.count_stock(
            request=a_request(),
            sku="CUP",
            counted=counted,
            expected_on_hand=expected,
            provenance=TESTER,
            now=NOON,
        )

    def test_sets_what_was_counted(self):
        self.count(7)

        self.assertEqual(level_of("CUP").on_hand, 7)
        row = Movement.objects.latest("id")
        self.assertEqual((row.kind, row.on_hand_change), ("count", -3))

    def test_refuses_a_count_against_other_books(self):
        self.assert_refused(usecases.StockChanged, lambda: self.count(7, expected=9))


class PolicyTests(StockTestCase):
    def test_safety_stock_is_kept_back(self):
        self.policy(safety=3)

        self.assert_refused(InsufficientStock, lambda: self.order(8))
        self.order(7)

    def test_tells_the_ledger_who_changed_what(self):
        self.policy(safety=3, low_at=5)
        self.policy(safety=3)

        row = Movement.objects.latest("id")
        self.assertEqual((row.kind, row.reference), ("policy", "safety 0 to 3, low_at 0 to 5"))
        self.assertEqual((row.actor, row.on_hand_after), ("tester", 10))

    def test_less_safety_stock_is_more_for_who_waits(self):
        usecases.update_sku("CUP", sell_policy="backorder")
        self.policy(safety=3, backorder_limit=5)
        self.order(9, allow_backorder=True)
        self.assertEqual(Allocation.objects.get().waiting_units, 2)

        self.policy(safety=1)

        self.assertEqual(Allocation.objects.get().waiting_units, 0)

    def test_refuses_a_limit_below_what_is_waited_for(self):
        usecases.update_sku("CUP", sell_policy="backorder")
        self.policy(backorder_limit=5)
        self.order(14, allow_backorder=True)

        self.assert_refused(
            usecases.BackorderLimitTooLow, lambda: self.policy(backorder_limit=3), is_kept=False
        )

    def test_refuses_a_level_that_cannot_be(self):
        for refusal, sku, location in (
            (usecases.SkuNotFound, "NONE", "main"),
            (usecases.LocationNotFound, "CUP", "moon"),
        ):
            self.assert_refused(
                refusal,
                lambda sku=sku, location=location: usecases.set_policy(
                    sku, location=location, provenance=TESTER, now=NOON, safety=1
                ),
                is_kept=False,
            )


class ListTests(StockTestCase):
    def codes(self, **more):
        skus, _ = usecases.list_stock(limit=10, **more)
        return [sku.code for sku in skus]

    def test_lists_what_is_low_short_or_waited_for(self):
        given_stock("POT", on_hand=10)
        given_sku("TEA", sell_policy="backorder")
        usecases.set_policy("TEA", location="main", provenance=TESTER, now=NOON, backorder_limit=5)
        self.policy(low_at=5)
        self.assertEqual(self.codes(state="low"), [])

        self.order(6)
        place({"TEA": 2}, account=given_account(), allow_backorder=True)
        usecases.adjust_stock(
            request=a_request(), sku="CUP", delta=-5, reason="loss", provenance=TESTER, now=NOON
        )

        self.assertEqual(self.codes(state="low"), ["CUP"])
        self.assertEqual(self.codes(state="shortfall"), ["CUP"])
        self.assertEqual(self.codes(state="waiting"), ["TEA"])
        self.assertEqual(self.codes(), ["CUP", "POT", "TEA"])

    def test_narrows_to_a_location(self):
        given_location("annex")
        given_stock("POT", on_hand=1)
        given_units("POT", 1, location="annex")

        self.assertEqual(self.codes(location="annex"), ["POT"])


class LocationTests(StockTestCase):
    def test_orders_ask_the_lowest_priority_first(self):
        given_location("annex", priority=-1)
        given_units("CUP", 10, location="annex")

        self.order(3)

        self.assertEqual((level_of("CUP").allocated, level_of("CUP", "annex").allocated), (0, 3))

    def test_a_closed_location_sells_nothing_more(self):
        usecases.update_location("main", is_active=False)

        self.assert_refused(InsufficientStock, lambda: self.order(1))
        self.assertEqual(level_of("CUP").available, 0)

    def test_refuses_a_code_that_is_taken_or_not_there(self):
        locations = list(Location.objects.values_list())

        self.assert_refused(usecases.LocationExists, lambda: given_location("main"), is_kept=False)
        self.assert_refused(
            usecases.NoSuchLocation,
            lambda: usecases.update_location("moon", priority=1),
            is_kept=False,
        )
        self.assertEqual(list(Location.objects.values_list()), locations)


class DurableChangeTests(CommittedTestCase):
    def test_says_that_nothing_was_done_when_a_sku_is_locked_for_too_long(self):
        given_sku("CUP")
        self.addCleanup(connection.close)  # With its timeout.
        with self.somebody_doing("SELECT * FROM inventory_sku FOR UPDATE"):
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '100ms'")

            with self.assertRaises(TemporarilyUnavailable):
                usecases.update_sku("CUP", price_minor=1)

        self.assertEqual(Sku.objects.get().price_minor, 250)

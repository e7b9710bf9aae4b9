"""Stock is kept for a while, and then ordered, released or free again."""

import json
from datetime import timedelta
from uuid import uuid4

from django.db import connection
from django.test import TestCase
from django.test.utils import override_settings
from django.utils import timezone

from events.models import Event
from inventory.holding import (
    HoldChanged,
    HoldInvalid,
    HoldLifeExceeded,
    HoldLimitReached,
    HoldNotFound,
    HoldNotLive,
    TooFewToHold,
)
from inventory.models import Hold, Movement
from inventory.usecases import expire_holds, extend_hold, release_hold
from orders.models import Order
from orders.usecases import InsufficientStock, OrderInvalid
from rollout.codepath import override
from tests.builders import (
    NOON,
    TESTER,
    a_request,
    given_account,
    given_hold,
    given_sku,
    given_stock,
    let_pass,
    level_of,
    place,
    what_moved,
)


def events_of(hold_id):
    events = Event.objects.filter(aggregate_type="hold", aggregate_id=str(hold_id))
    return list(events.order_by("aggregate_version").values_list("type", flat=True))


def kinds_of(code):
    movements = Movement.objects.filter(level__sku__code=code).order_by("level_version")
    return list(movements.values_list("kind", flat=True))


class HoldsTestCase(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        self.shop = given_account()
        given_stock("CUP", on_hand=10)
        given_stock("POT", on_hand=2)

    def assert_nothing_moved(self, before, *, keys=0):
        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + keys})


class PlaceHoldTests(HoldsTestCase):
    def test_keeps_units_until_the_deadline(self):
        hold_id = given_hold({"CUP": 3, "POT": 1}, account=self.shop, expires_in_s=900)

        hold = Hold.objects.get(pk=hold_id)
        self.assertEqual((hold.state, hold.units, hold.version), ("live", 4, 1))
        self.assertEqual(hold.expires_at - hold.created_at, timedelta(seconds=900))
        self.assertEqual((level_of("CUP").held, level_of("CUP").available), (3, 7))
        self.assertEqual(kinds_of("CUP"), ["receive", "hold"])
        self.assertEqual(events_of(hold_id), ["hold.placed"])

    def test_refuses_a_hold_larger_than_the_stock(self):
        before = what_moved()

        with self.assertRaises(TooFewToHold) as caught:
            given_hold({"CUP": 1, "POT": 3}, account=self.shop)

        (error,) = caught.exception.errors
        self.assertEqual((error["pointer"], error["requested"]), ("/lines/1", 3))
        self.assertEqual(error["available"], 2)
        self.assert_nothing_moved(before, keys=1)

    def test_refuses_what_cannot_be_held(self):
        given_sku("WRAP", is_tracked=False)
        given_stock("OLD", on_hand=5, is_active=False)
        before = what_moved()

        with self.assertRaises(HoldInvalid) as caught:
            given_hold({"CUP": 1, "WRAP": 1, "OLD": 1, "NONE": 1}, account=self.shop)

        self.assertEqual(
            [(error["pointer"], error["code"]) for error in caught.exception.errors],
            [
                ("/lines/1/sku", "sku_untracked"),
                ("/lines/2/sku", "sku_inactive"),
                ("/lines/3/sku", "sku_unknown"),
            ],
        )
        self.assert_nothing_moved(before)

    def test_refuses_more_live_holds_than_an_account_may_have(self):
        given_hold(account=self.shop)
        let_pass(given_hold(account=self.shop))  # Counts no more.
        given_hold(account=given_account("another"))
        with override_settings(HOLDS_OPEN_MAX=2):
            given_hold(account=self.shop)
            before = what_moved()

            with self.assertRaises(HoldLimitReached) as caught:
                given_hold(account=self.shop)

        self.assertEqual((caught.exception.holds_open, caught.exception.units_held), (2, 2))
        self.assert_nothing_moved(before)

    @override_settings(HOLD_UNITS_MAX=5)
    def test_refuses_more_units_than_an_account_may_hold(self):
        given_hold({"CUP": 3}, account=self.shop)
        before = what_moved()

        with self.assertRaises(HoldLimitReached):
            given_hold({"CUP": 3}, account=self.shop)

        self.assert_nothing_moved(before)
        given_hold({"CUP": 2}, account=self.shop)

    def test_takes_what_expired_holds_keep(self):
        past = given_hold({"CUP": 8}, account=self.shop)
        let_pass(past)

        given_hold({"CUP": 9}, account=self.shop)

        self.assertEqual(level_of("CUP").held, 9)
        self.assertEqual(kinds_of("CUP"), ["receive", "hold", "expire", "hold"])


class OrderOnHoldTests(HoldsTestCase):
    def test_takes_what_the_hold_keeps_when_all_the_rest_is_sold(self):
        hold_id = given_hold({"CUP": 3}, account=self.shop)
        place({"CUP": 7}, account=self.shop)

        answer = place({"CUP": 3}, account=self.shop, hold=hold_id)

        self.assertEqual(answer.status, 201)
        self.assertEqual((level_of("CUP").held, level_of("CUP").allocated), (0, 10))
        hold = Hold.objects.get(pk=hold_id)
        self.assertEqual(hold.state, "converted")
        self.assertEqual(str(hold.order_id), json.loads(answer.body)["id"])
        self.assertEqual(events_of(hold_id), ["hold.placed", "hold.converted"])

    def test_releases_what_the_order_does_not_take(self):
        hold_id = given_hold({"CUP": 3, "POT": 2}, account=self.shop)

        place({"CUP": 1}, account=self.shop, hold=hold_id)

        self.assertEqual((level_of("CUP").held, level_of("CUP").allocated), (0, 1))
        self.assertEqual((level_of("POT").held, level_of("POT").allocated), (0, 0))

    def test_takes_more_than_was_held_from_what_is_available(self):
        hold_id = given_hold({"POT": 1}, account=self.shop)

        place({"POT": 2, "CUP": 1}, account=self.shop, hold=hold_id)

        self.assertEqual((level_of("POT").held, level_of("POT").allocated), (0, 2))
        self.assertEqual(level_of("CUP").allocated, 1)

    def test_leaves_the_hold_alone_when_more_is_wanted_than_there_is(self):
        hold_id = given_hold({"POT": 2}, account=self.shop)
        before = what_moved()

        with self.assertRaises(InsufficientStock) as caught:
            place({"POT": 3}, account=self.shop, hold=hold_id)

        self.assertEqual(caught.exception.errors[0]["available"], 2)
        self.assert_nothing_moved(before, keys=1)

    def test_refuses_a_hold_that_nobody_or_somebody_else_has(self):
        others = given_hold({"CUP": 1}, account=given_account("another"))
        before = what_moved()

        for hold_id in (others, uuid4()):
            with self.assertRaises(OrderInvalid) as caught:
                place({"CUP": 1}, account=self.shop, hold=hold_id)
            (error,) = caught.exception.errors
            self.assertEqual((error["pointer"], error["code"]), ("/hold", "hold_unknown"))

        self.assert_nothing_moved(before)

    def test_refuses_a_hold_that_keeps_nothing_any_more(self):
        holds = {
            state: given_hold({"CUP": 1}, account=self.shop)
            for state in ("converted", "released", "expired")
        }
        place({"CUP": 1}, account=self.shop, hold=holds["converted"])
        release_hold(
            holds["released"],
            request=a_request(account_id=self.shop.pk),
            provenance=TESTER,
            now=NOON,
        )
        let_pass(holds["expired"])
        before = what_moved()

        for state, hold_id in holds.items():
            with self.assertRaises(HoldNotLive) as caught:
                place({"CUP": 1}, account=self.shop, hold=hold_id)
            self.assertEqual(caught.exception.state, state)

        self.assert_nothing_moved(before, keys=3)


class ExpiredHoldTests(HoldsTestCase):
    def test_stops_counting_before_anybody_swept_it(self):
        hold_id = given_hold({"CUP": 4, "POT": 1}, account=self.shop)
        let_pass(hold_id)

        place({"CUP": 10}, account=self.shop)

        self.assertEqual((level_of("CUP").held, level_of("CUP").allocated), (0, 10))
        # What nobody was short of is left to the sweeper, and so is the hold.
        self.assertEqual(level_of("POT").held, 1)
        self.assertEqual(events_of(hold_id), ["hold.placed"])

    def test_is_left_alone_while_there_is_enough(self):
        let_pass(given_hold({"CUP": 4}, account=self.shop))

        place({"CUP": 6}, account=self.shop)

        self.assertEqual(level_of("CUP").held, 4)

    def test_counts_as_available_in_a_refusal_that_moves_nothing(self):
        let_pass(given_hold({"CUP": 4}, account=self.shop))
        before = what_moved()

        with self.assertRaises(InsufficientStock) as caught:
            place({"CUP": 11}, account=self.shop)

        self.assertEqual(caught.exception.errors[0]["available"], 10)
        self.assert_nothing_moved(before, keys=1)

    def test_is_swept_once_whoever_sweeps(self):
        holds = [given_hold({"CUP": 1, "POT": 1}, account=self.shop) for _ in range(2)]
        live = given_hold({"CUP": 1}, account=self.shop)
        let_pass(*holds)
        place({"CUP": 8}, account=self.shop)  # Sweeps a line of the first.

        self.assertEqual(expire_holds(provenance=TESTER, now=NOON), 2)
        self.assertEqual(expire_holds(provenance=TESTER, now=NOON), 0)

        self.assertEqual((level_of("CUP").held, level_of("POT").held), (1, 0))
        self.assertEqual(level_of("CUP").allocated, 8)
        self.assertEqual(kinds_of("CUP").count("expire"), 2)
        for hold_id in holds:
            self.assertEqual(Hold.objects.get(pk=hold_id).state, "expired")
            self.assertEqual(events_of(hold_id), ["hold.placed", "hold.expired"])
        self.assertEqual(Hold.objects.get(pk=live).state, "live")


class ExtendHoldTests(HoldsTestCase):
    def extend(self, hold_id, seconds, *, account=None, versions=None):
        return extend_hold(
            hold_id,
            request=a_request(account_id=(account or self.shop).pk),
            expires_in_s=seconds,
            now=NOON,
            expected_versions=versions,
        )

    def test_moves_the_deadline_away(self):
        hold_id = given_hold(account=self.shop, expires_in_s=60)

        answer = self.extend(hold_id, 600)

        hold = Hold.objects.get(pk=hold_id)
        self.assertGreater(hold.expires_at, timezone.now() + timedelta(seconds=590))
        self.assertEqual((hold.version, answer.etag), (2, '"2"'))
        self.assertEqual(hold.lines.get().expires_at, hold.expires_at)
        self.assertEqual(events_of(hold_id), ["hold.placed", "hold.extended"])

    def test_never_takes_time_away(self):
        hold_id = given_hold(account=self.shop, expires_in_s=600)
        deadline = Hold.objects.get(pk=hold_id).expires_at

        self.extend(hold_id, 60)

        self.assertEqual(Hold.objects.get(pk=hold_id).expires_at, deadline)

    def test_refuses_to_keep_a_hold_for_longer_than_its_life(self):
        with override_settings(HOLD_LIFE_S_MAX=900):
            hold_id = given_hold(account=self.shop, expires_in_s=600)
        before = what_moved()

        with self.assertRaises(HoldLifeExceeded):
            self.extend(hold_id, 1000)

        self.assert_nothing_moved(before, keys=1)

    def test_refuses_a_hold_past_its_deadline(self):
        hold_id = given_hold(account=self.shop)
        let_pass(hold_id)
        before = what_moved()

        with self.assertRaises(HoldNotLive):
            self.extend(hold_id, 600)

        self.assert_nothing_moved(before, keys=1)

    def test_refuses_a_stale_version(self):
        hold_id = given_hold(account=self.shop)
        before = what_moved()

        with self.assertRaises(HoldChanged):
            self.extend(hold_id, 600, versions=(2,))

        self.assert_nothing_moved(before, keys=1)

    def test_does_not_know_the_hold_of_another_account(self):
        hold_id = given_hold(account=self.shop)
        before = what_moved()

        with self.assertRaises(HoldNotFound):
            self.extend(hold_id, 600, account=given_account("another"))

        self.assert_nothing_moved(before)


class OrderWithoutHoldTests(HoldsTestCase):
    def test_an_order_without_a_hold_asks_nothing_of_holds(self):
        # What is sold out while nothing of it is held costs no look for expired holds either.
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE inventory_hold RENAME TO inventory_hold_away")
            cursor.execute("ALTER TABLE inventory_holdline RENAME TO inventory_holdline_away")

        self.assertEqual(place({"CUP": 10}, account=self.shop).status, 201)
        with self.assertRaises(InsufficientStock):
            place({"CUP": 1}, account=self.shop)
        self.assertEqual(Order.objects.count(), 1)

"""Orders wait for what is not there, and get it when it comes, the oldest first."""

from django.db import DatabaseError, transaction
from django.test import TestCase

from events.models import Event
from inventory import usecases
from inventory.models import Allocation, Movement, Sku, StockLevel
from orders.models import Line, Order
from orders.usecases import Cut, InsufficientStock, Pick, cancel_order, fulfill_order
from rollout.codepath import override
from tests.builders import (
    NOON,
    TESTER,
    a_change,
    a_request,
    discrepancies,
    given_account,
    given_stock,
    level_of,
    place,
    what_moved,
)


class BackorderTests(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        self.shop = given_account()
        given_stock("CUP", on_hand=2)
        Sku.objects.update(sell_policy="backorder")
        StockLevel.objects.update(backorder_limit=10)

    def tearDown(self):
        self.assertEqual(discrepancies(), [])

    def order(self, units, **more):
        before = set(Order.objects.values_list("pk", flat=True))
        place({"CUP": units}, account=self.shop, **({"allow_backorder": True} | more))
        return Order.objects.exclude(pk__in=before).get()

    def receive(self, units):
        usecases.receive_stock(
            request=a_request(), sku="CUP", quantity=units, provenance=TESTER, now=NOON
        )

    def waiting(self, *orders):
        units = dict(Allocation.objects.values_list("order_id", "waiting_units"))
        return [units[order.pk] for order in orders]

    def counters(self):
        level = level_of("CUP")
        return level.on_hand, level.allocated, level.waiting, level.available

    def test_takes_what_is_there_and_waits_for_the_rest(self):
        order = self.order(5)

        self.assertEqual(self.counters(), (2, 5, 3, 0))
        self.assertEqual(self.waiting(order), [3])
        self.assertEqual(Line.objects.get().backordered, 3)

    def test_refuses_who_did_not_agree_to_wait(self):
        before = what_moved()

        with self.assertRaises(InsufficientStock):
            self.order(5, allow_backorder=False)

        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})

    def test_refuses_more_than_the_limit(self):
        before = what_moved()

        with self.assertRaises(InsufficientStock):
            self.order(13)

        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})

    def test_fills_the_oldest_order_first(self):
        first, second = self.order(5), self.order(4)

        self.receive(4)

        self.assertEqual(self.waiting(first, second), [0, 3])
        self.assertEqual(self.counters(), (6, 9, 3, 0))

    def test_tells_of_every_fill_and_writes_it_to_the_ledger(self):
        first, second = self.order(5), self.order(4)

        self.receive(4)

        told = Event.objects.filter(type="stock.backorder_filled").order_by("aggregate_version")
        self.assertEqual(
            [(event.data["order_id"], event.data["units"]) for event in told],
            [(str(first.pk), 3), (str(second.pk), 1)],
        )
        rows = Movement.objects.filter(kind="fill").order_by("id")
        self.assertEqual(
            [(row.order_id, row.waiting_change, row.waiting_after) for row in rows],
            [(first.pk, -3, 4), (second.pk, -1, 3)],
        )

    def test_what_comes_in_is_not_sold_to_others_while_somebody_waits(self):
        self.order(5)
        self.receive(2)

        with self.assertRaises(InsufficientStock):
            self.order(1, allow_backorder=False)

    def test_a_cancelled_order_makes_room_and_what_it_had_goes_to_who_waits(self):
        first, second = self.order(2), self.order(4)

        cancel_order(a_change(first), cuts=None, reason="")

        self.assertEqual(self.waiting(second), [2])
        self.assertEqual(self.counters(), (2, 4, 2, 0))

    def test_who_gives_up_waiting_gives_up_nothing_that_is_there(self):
        order = self.order(5)

        cancel_order(a_change(order), cuts=[Cut(0, 3)], reason="")

        self.assertEqual(self.waiting(order), [0])
        self.assertEqual(self.counters(), (2, 2, 0, 0))

    def test_only_what_is_there_can_ship(self):
        order = self.order(5)
        before = what_moved()

        with self.assertRaises(usecases.NotOnHand):
            fulfill_order(a_change(order), picks=[Pick(0, 3)])

        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})
        fulfill_order(a_change(order), picks=[Pick(0, 2)])
        self.assertEqual(self.counters(), (0, 3, 3, 0))

    def test_wrong_books_do_not_keep_units_from_coming_in(self):
        self.order(5)
        Allocation.objects.update(waiting_units=0)

        with self.assertLogs("inventory.booking", "ERROR"):
            self.receive(4)

        self.assertEqual(self.counters(), (6, 5, 3, 1))
        Allocation.objects.update(waiting_units=3)
        self.receive(1)
        self.assertEqual(self.counters(), (7, 5, 0, 2))

    def test_the_database_lets_nobody_wait_beyond_the_limit(self):
        for values in ({"allocated": 11, "waiting": 11}, {"allocated": 3}, {"waiting": 1}):
            with (
                self.subTest(values),
                self.assertRaisesMessage(DatabaseError, "inventory_level_waits_within_limit"),
                transaction.atomic(),
            ):
                StockLevel.objects.update(**values)

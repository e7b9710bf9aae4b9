"""Units that orders were promised are shipped, given back, missed and returned."""

from uuid import uuid4

from django.db import transaction
from django.test import TestCase

from inventory import usecases
from inventory.models import Allocation, Movement
from inventory.usecases import Demand, Draw, Return
from tests.builders import NOON, TESTER, a_request, given_sku, given_stock, level_of, what_moved


class AllocatedUnitsTests(TestCase):
    def setUp(self):
        given_stock("CUP", on_hand=10)
        given_stock("POT", on_hand=5)
        given_sku("WRAP", is_tracked=False)
        self.order = self.allocated({"CUP": 4, "POT": 2, "WRAP": 9})

    def allocated(self, units):
        order_id = uuid4()
        _, levels, _ = usecases.lock_stock(list(units))
        usecases.allocate([Demand(order_id, units, TESTER, NOON)], levels)
        return order_id

    def draw(self, *draws, order=None):
        told = [Draw(order or self.order, *parts) for parts in draws]
        with transaction.atomic():
            return usecases.draw_units(told, provenance=TESTER, now=NOON, reason="test")

    def test_ships_part_of_one_sku_and_all_of_another(self):
        drawn = self.draw(("CUP", 3, "ship"), ("POT", 2, "ship"), ("WRAP", 9, "ship"))

        self.assertEqual([taken.promise.location for taken in drawn], ["main", "main"])
        self.assertEqual((level_of("CUP").on_hand, level_of("CUP").allocated), (7, 1))
        self.assertEqual((level_of("POT").on_hand, level_of("POT").allocated), (3, 0))
        self.assertEqual(
            sorted(Allocation.objects.values_list("units", "shipped_units", "released_units")),
            [(2, 2, 0), (4, 3, 0)],
        )
        self.assertEqual(
            list(Movement.objects.filter(kind="ship").values_list("order_id", "reason")),
            [(self.order, "test")] * 2,
        )

    def test_ships_some_and_misses_the_rest_at_once(self):
        self.draw(("CUP", 3, "ship"), ("CUP", 1, "quarantine"))

        level = level_of("CUP")
        self.assertEqual((level.on_hand, level.allocated, level.unavailable), (7, 0, 1))
        self.assertEqual(level.available, 6)

    def test_refuses_more_than_is_allocated_and_moves_nothing(self):
        before = what_moved()

        for order in (self.order, uuid4()):
            with self.assertRaises(usecases.NotAllocated):
                self.draw(("POT", 1, "ship"), ("CUP", 5, "ship"), order=order)

        self.assertEqual(what_moved(), before)

    def test_refuses_to_ship_what_was_counted_away(self):
        usecases.adjust_stock(
            request=a_request(), sku="CUP", delta=-8, reason="loss",
            provenance=TESTER, now=NOON,
        )  # fmt: skip
        before = what_moved()

        with self.assertRaises(usecases.NotOnHand) as caught:
            self.draw(("CUP", 4, "ship"))

        self.assertEqual(caught.exception.on_hand, 2)
        self.assertEqual(what_moved(), before)

    def test_gives_back_what_several_orders_have_left(self):
        other = self.allocated({"CUP": 2})
        self.draw(("CUP", 1, "ship"))

        with transaction.atomic():
            usecases.release_orders(
                [self.order, other, uuid4()], provenance=TESTER, now=NOON, reason="expired"
            )

        self.assertEqual((level_of("CUP").on_hand, level_of("CUP").allocated), (9, 0))
        self.assertEqual(level_of("POT").allocated, 0)

    def test_promises_again_what_an_order_had_lost(self):
        with transaction.atomic():
            usecases.release_order(self.order, provenance=TESTER, now=NOON)

        _, levels, _ = usecases.lock_stock(["CUP"])
        usecases.allocate([Demand(self.order, {"CUP": 3}, TESTER, NOON)], levels)

        cups = Allocation.objects.get(order_id=self.order, level=level_of("CUP"))
        self.assertEqual((cups.units, cups.released_units), (7, 4))
        self.assertEqual(level_of("CUP").allocated, 3)

    def test_takes_back_what_was_sent(self):
        self.draw(("CUP", 4, "ship"))

        with transaction.atomic():
            usecases.take_back(
                self.order,
                [
                    Return("CUP", 2, "restock", "main"),
                    Return("CUP", 1, "quarantine", "main"),
                    Return("CUP", 1, "scrap", "main"),
                    Return("WRAP", 1, "restock", "main"),
                ],
                provenance=TESTER,
                now=NOON,
            )

        level = level_of("CUP")
        self.assertEqual((level.on_hand, level.unavailable, level.available), (9, 1, 8))
        self.assertEqual(
            list(
                Movement.objects.filter(kind="return")
                .order_by("id")
                .values_list("reason", "on_hand_change")
            ),
            [("restock", 2), ("quarantine", 1), ("scrap", 0)],
        )

    def test_refuses_a_return_to_a_place_that_is_not_there(self):
        before = what_moved()

        with self.assertRaises(usecases.LocationNotFound), transaction.atomic():
            usecases.take_back(
                self.order, [Return("CUP", 1, "restock", "moon")], provenance=TESTER, now=NOON
            )

        self.assertEqual(what_moved(), before)

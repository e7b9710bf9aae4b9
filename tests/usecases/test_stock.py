"""Receive, adjust, allocate, release: each by its door."""

import uuid

from django.db import DatabaseError, connection, transaction
from django.test import TestCase

from events.usecases import StoredRefusal
from inventory import usecases
from inventory.models import Movement, StockLevel
from inventory.rules import UNITS_MAX
from inventory.usecases import Demand, Shortage
from tests.builders import NOON, TESTER, a_request, given_sku, given_stock, level_of, what_moved


class ReceiveStockTests(TestCase):
    def receive(self, quantity, request=None, sku="CUP", **more):
        return usecases.receive_stock(
            request=request or a_request(),
            sku=sku,
            quantity=quantity,
            provenance=TESTER,
            now=NOON,
            **more,
        )

    def test_adds_units_and_writes_the_ledger(self):
        given_stock("CUP", on_hand=4)

        self.receive(6, reference="PO-7")

        self.assertEqual(level_of("CUP").on_hand, 10)
        movement = Movement.objects.get(level_version=2)
        self.assertEqual((movement.kind, movement.on_hand_change), ("receive", 6))
        self.assertEqual((movement.on_hand_after, movement.reference), (10, "PO-7"))
        self.assertEqual((movement.actor, movement.source), ("tester", "test"))

    def test_books_a_repeated_receipt_once(self):
        given_sku("CUP")
        request = a_request("receipt-1")

        first = self.receive(6, request)
        again = self.receive(6, request)

        self.assertEqual(again.body, first.body)
        self.assertTrue(again.is_replayed)
        self.assertEqual(level_of("CUP").on_hand, 6)

    def test_refuses_a_sku_that_does_not_exist_and_leaves_the_key_unused(self):
        before = what_moved()

        with self.assertRaises(usecases.SkuNotFound):
            self.receive(6, sku="NONE")

        self.assertEqual(what_moved(), before)

    def test_refuses_a_service(self):
        given_sku("WRAP", is_tracked=False)
        before = what_moved()

        with self.assertRaises(usecases.SkuUntracked):
            self.receive(6, sku="WRAP")

        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})

    def test_refuses_an_unknown_location(self):
        given_sku("CUP")
        before = what_moved()

        with self.assertRaises(usecases.LocationNotFound):
            self.receive(6, location="moon")

        self.assertEqual(what_moved(), before)

    def test_refuses_more_units_than_a_level_holds(self):
        given_stock("CUP", on_hand=1)
        before = what_moved()

        with self.assertRaises(usecases.StockAboveLimit):
            self.receive(UNITS_MAX)

        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})


class AdjustStockTests(TestCase):
    def setUp(self):
        given_stock("CUP", on_hand=10)

    def adjust(self, delta, request=None):
        return usecases.adjust_stock(
            request=request or a_request(),
            sku="CUP",
            delta=delta,
            reason="damage",
            provenance=TESTER,
            now=NOON,
        )

    def set(self, on_hand, *, expected):
        return usecases.set_stock(
            request=a_request(),
            sku="CUP",
            on_hand=on_hand,
            expected_on_hand=expected,
            reason="count",
            provenance=TESTER,
            now=NOON,
        )

    def promise(self, units):
        with transaction.atomic():
            _, levels, _ = usecases.lock_stock(["CUP"])
            demand = Demand(uuid.uuid4(), {"CUP": units}, TESTER, at=NOON)
            return usecases.allocate([demand], levels)

    def test_takes_units_away_with_a_reason(self):
        self.adjust(-3)

        self.assertEqual(level_of("CUP").on_hand, 7)
        self.assertEqual(Movement.objects.get(level_version=2).reason, "damage")

    def test_refuses_to_take_more_than_there_is_and_says_so_again(self):
        before = what_moved()
        request = a_request("adjust-1")

        with self.assertRaises(usecases.StockBelowZero) as caught:
            self.adjust(-11, request)

        self.assertEqual((caught.exception.on_hand, caught.exception.delta), (10, -11))
        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})
        with self.assertRaises(StoredRefusal) as again:
            self.adjust(-11, request)
        self.assertEqual(str(again.exception), str(caught.exception))
        self.assertEqual(again.exception.code, "stock_below_zero")

    def test_shows_as_shortfall_what_was_promised_and_is_gone(self):
        self.promise(8)

        self.adjust(-5)

        level = level_of("CUP")
        self.assertEqual((level.on_hand, level.allocated, level.shortfall), (5, 8, 3))
        self.assertEqual(level.available, 0)
        self.assertEqual(Movement.objects.latest("id").shortfall_change, 3)

    def test_a_receipt_makes_up_for_a_shortfall(self):
        self.promise(8)
        self.adjust(-5)

        usecases.receive_stock(
            request=a_request(), sku="CUP", quantity=2, provenance=TESTER, now=NOON
        )

        self.assertEqual(level_of("CUP").shortfall, 1)

    def test_sets_what_was_counted_when_the_books_are_as_expected(self):
        self.set(12, expected=10)

        self.assertEqual(level_of("CUP").on_hand, 12)

    def test_refuses_a_count_made_against_other_books(self):
        before = what_moved()

        with self.assertRaises(usecases.StockChanged) as caught:
            self.set(12, expected=9)

        self.assertEqual(caught.exception.on_hand, 10)
        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})


class AllocateTests(TestCase):
    def setUp(self):
        given_stock("CUP", on_hand=5)
        given_stock("POT", on_hand=2)
        given_sku("WRAP", is_tracked=False)

    def allocate(self, *demands):
        ids = [uuid.uuid4() for _ in demands]
        with transaction.atomic():
            _, levels, _ = usecases.lock_stock(["CUP", "POT", "WRAP"])
            grants = usecases.allocate(
                [
                    Demand(order_id, units, TESTER, at=NOON)
                    for order_id, units in zip(ids, demands, strict=True)
                ],
                levels,
            )
        return ids, [granted.shortages for granted in grants]

    def test_promises_units_in_the_order_asked_for(self):
        _, decisions = self.allocate({"CUP": 3}, {"CUP": 3}, {"CUP": 2})

        self.assertEqual(decisions, [(), (Shortage("CUP", 3, 2),), ()])
        self.assertEqual(level_of("CUP").allocated, 5)

    def test_promises_all_of_an_order_or_nothing(self):
        _, decisions = self.allocate({"CUP": 1, "POT": 3})

        self.assertEqual(decisions, [(Shortage("POT", 3, 2),)])
        self.assertEqual((level_of("CUP").allocated, level_of("POT").allocated), (0, 0))

    def test_never_runs_out_of_a_service(self):
        _, decisions = self.allocate({"WRAP": 1_000_000})

        self.assertEqual(decisions, [()])
        self.assertEqual(level_of("WRAP").allocated, 0)

    def test_keeps_safety_stock_back(self):
        StockLevel.objects.filter(sku__code="CUP").update(safety=2)

        _, decisions = self.allocate({"CUP": 4})

        self.assertEqual(decisions, [(Shortage("CUP", 4, 3),)])

    def test_gives_every_unit_back_once(self):
        (order_id,), _ = self.allocate({"CUP": 3, "POT": 1})

        with transaction.atomic():
            usecases.release_order(order_id, provenance=TESTER, now=NOON, reason="cancelled")

        self.assertEqual((level_of("CUP").allocated, level_of("POT").allocated), (0, 0))
        before = what_moved()
        with self.assertRaises(usecases.NothingAllocated), transaction.atomic():
            usecases.release_order(order_id, provenance=TESTER, now=NOON)
        self.assertEqual(what_moved(), before)


class LastWallTests(TestCase):
    def setUp(self):
        given_stock("CUP", on_hand=5)

    def test_the_database_refuses_to_promise_more_than_there_is(self):
        with self.assertRaisesMessage(DatabaseError, "inventory_level_not_oversold"):
            StockLevel.objects.update(allocated=6)

    def test_the_database_refuses_a_counter_below_zero(self):
        with self.assertRaisesMessage(DatabaseError, "inventory_level_not_negative"):
            StockLevel.objects.update(held=-1)

    def test_the_ledger_cannot_be_changed(self):
        for statement in (
            "UPDATE inventory_movement SET reason = 'x'",
            "DELETE FROM inventory_movement",
            "TRUNCATE inventory_movement CASCADE",
        ):
            # Else TRUNCATE is refused already because foreign keys are still to be checked.
            connection.check_constraints()
            with (
                self.subTest(statement),
                self.assertRaisesMessage(DatabaseError, "append-only"),
                transaction.atomic(),
                connection.cursor() as cursor,
            ):
                cursor.execute(statement)
        self.assertEqual(Movement.objects.count(), 1)

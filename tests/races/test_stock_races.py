"""Stock keepers and orders that want the same units at the same moment."""

from uuid import UUID

import orjson
import pytest

from events.usecases import Answer
from inventory import usecases
from inventory.models import Allocation, Hold, Movement
from orders.usecases import InsufficientStock, cancel_order, fulfill_order
from tests.builders import (
    NOON,
    TESTER,
    a_change,
    a_request,
    given_hold,
    given_location,
    given_stock,
    given_units,
    let_pass,
    level_of,
    place,
    placed_order,
)
from tests.committed import CommittedTestCase
from tests.races.rivals import Rivals, names

BOTH_WAYS = {("done", "InsufficientStock"), ("StockNotFree", "done")}


class StockRaces(Rivals):
    """Each race begins with the stock of the one before."""

    def order(self, units, **more):
        return lambda: place(units, account=self.account, **more)

    def cancel(self, order):
        return lambda: cancel_order(a_change(order), cuts=None, reason="")

    def send(self, quantity, source="main", destination="annex"):
        ends = {"sku": "CUP", "source": source, "destination": destination}
        return lambda: usecases.send_transfer(
            request=a_request(), quantity=quantity, provenance=TESTER, now=NOON, **ends
        )

    def receive(self, transfer_id, quantity):
        return lambda: usecases.receive_transfer(
            request=a_request(),
            transfer_id=transfer_id,
            quantity=quantity,
            provenance=TESTER,
            now=NOON,
        )

    def turn_back(self, transfer_id):
        return lambda: usecases.cancel_transfer(
            request=a_request(), transfer_id=transfer_id, provenance=TESTER, now=NOON
        )

    def given_waiting(self, units):
        """Return an order that waits for units that are not there."""
        return placed_order(place({"CUP": units}, account=self.account, allow_backorder=True))

    def given_backorders(self, *, on_hand):
        given_stock("CUP", on_hand=on_hand, sell_policy="backorder")
        usecases.set_policy("CUP", location="main", provenance=TESTER, now=NOON, backorder_limit=99)

    def counters(self, location="main"):
        level = level_of("CUP", location)
        return level.on_hand, level.held, level.allocated, level.waiting

    def undo(self, placed):
        """Cancel an order that was placed after all."""
        if isinstance(placed, Answer):
            self.cancel(placed_order(placed))()


class TransferRaces(StockRaces):
    def test_one_who_sends_and_one_who_orders(self):
        given_location("annex")
        given_stock("CUP", on_hand=5)
        for number in range(self.rounds):
            sent, placed = self.at_once(self.send(4), self.order({"CUP": 3}), number=number)

            self.told[names([sent, placed])] += 1
            self.undo(placed)
            if isinstance(sent, Answer):
                self.turn_back(id_of(sent))()
            self.assertEqual(self.counters(), (5, 0, 0, 0))
        self.assert_nothing_was_lost()
        self.assertEqual(set(self.told), BOTH_WAYS)

    def test_one_who_receives_and_one_who_orders(self):
        given_location("annex")
        given_stock("CUP", on_hand=0)
        for number in range(self.rounds):
            given_units("CUP", 2)
            transfer_id = id_of(self.send(2)())

            received, placed = self.at_once(
                self.receive(transfer_id, 2), self.order({"CUP": 2}), number=number
            )

            self.told[names([received, placed])] += 1
            if isinstance(placed, Answer):
                fulfill_order(a_change(placed_order(placed)), picks=None)
            else:
                self.adjust(-2, location="annex")
            self.assertEqual(self.counters("annex"), (0, 0, 0, 0))
        self.assert_nothing_was_lost()
        self.assertEqual(set(self.told), {("done", "done"), ("done", "InsufficientStock")})

    def test_one_who_turns_back_and_one_who_orders(self):
        given_location("annex")
        given_stock("CUP", on_hand=2)
        for number in range(self.rounds):
            transfer_id = id_of(self.send(2)())

            turned, placed = self.at_once(
                self.turn_back(transfer_id), self.order({"CUP": 2}), number=number
            )

            self.told[names([turned, placed])] += 1
            self.undo(placed)
            self.assertEqual(self.counters(), (2, 0, 0, 0))
        self.assert_nothing_was_lost()
        self.assertEqual(set(self.told), {("done", "done"), ("done", "InsufficientStock")})

    def test_one_who_receives_and_one_who_turns_back(self):
        given_location("annex")
        given_stock("CUP", on_hand=self.rounds)
        for number in range(self.rounds):
            transfer_id = id_of(self.send(1)())

            outcomes = self.at_once(
                self.receive(transfer_id, 1), self.turn_back(transfer_id), number=number
            )

            self.told[names(outcomes)] += 1
            received = self.told["done", "TransferClosed"]
            self.assertEqual(self.stock("CUP", "annex"), (received, 0))
            self.assertEqual(self.stock("CUP"), (self.rounds - received, 0))
        self.assert_nothing_was_lost()
        self.assertEqual(set(self.told), {("done", "TransferClosed"), ("TransferClosed", "done")})

    def test_two_who_send_crosswise_while_orders_take_both_ends(self):
        given_location("annex")
        given_stock("CUP", on_hand=4)
        given_units("CUP", 4, location="annex")
        for number in range(self.rounds // 4):
            there, back = self.at_once(self.send(2), self.send(2, "annex", "main"), number=number)

            self.assertEqual(names([there, back]), ("done", "done"))
            received, placed = self.at_once(
                self.receive(id_of(there), 2), self.order({"CUP": 4}), number=number
            )
            self.assertEqual(names([received, placed]), ("done", "done"))
            self.receive(id_of(back), 2)()
            self.undo(placed)
            self.assertEqual((self.stock("CUP"), self.stock("CUP", "annex")), ((4, 0), (4, 0)))
        self.assert_nothing_was_lost()


class StocktakeRaces(StockRaces):
    def approve(self, stocktake_id):
        return lambda: usecases.approve_stocktake(
            request=a_request(), stocktake_id=stocktake_id, provenance=TESTER, now=NOON
        )

    def given_count(self, counted):
        """Return an open stocktake of these SKUs, counted."""
        opened = usecases.open_stocktake(
            request=a_request(), location="main", skus=list(counted), provenance=TESTER, now=NOON
        )
        usecases.count_lines(
            request=a_request(),
            stocktake_id=id_of(opened),
            counted=counted,
            provenance=TESTER,
            now=NOON,
        )
        return id_of(opened)

    def test_one_who_approves_and_one_who_orders(self):
        given_stock("CUP", on_hand=5)
        given_stock("POT", on_hand=5)
        for number in range(self.rounds):
            stocktake_id = self.given_count({"CUP": 1, "POT": 2})

            approved, placed = self.at_once(
                self.approve(stocktake_id), self.order({"POT": 3, "CUP": 3}), number=number
            )

            self.told[names([approved, placed])] += 1
            cup, pot = level_of("CUP"), level_of("POT")
            short = (2, 1) if isinstance(placed, Answer) else (0, 0)
            self.assertEqual((cup.on_hand, pot.on_hand), (1, 2))
            self.assertEqual((cup.shortfall, pot.shortfall), short)
            self.undo(placed)
            self.adjust(4)
            self.adjust(3, sku="POT")
            self.assertEqual((self.stock("CUP"), self.stock("POT")), ((5, 0), (5, 0)))
        self.assert_nothing_was_lost()
        self.assertEqual(set(self.told), {("done", "done"), ("done", "InsufficientStock")})

    def test_two_who_approve_one_stocktake(self):
        given_stock("CUP", on_hand=5)
        for number in range(self.rounds):
            stocktake_id = self.given_count({"CUP": 4})

            outcomes = self.at_once(
                self.approve(stocktake_id), self.approve(stocktake_id), number=number
            )

            self.told[names(outcomes)] += 1
            self.assertEqual(self.stock("CUP"), (4, 0))
            self.adjust(1)
        self.assert_nothing_was_lost()
        self.assertEqual(set(self.told), {("done", "StocktakeClosed"), ("StocktakeClosed", "done")})


class WaitingRaces(StockRaces):
    def test_a_receipt_for_an_order_that_is_cancelled_is_of_the_next(self):
        self.given_backorders(on_hand=0)
        for number in range(self.rounds):
            first, second = self.given_waiting(3), self.given_waiting(3)

            outcomes = self.at_once(
                lambda: given_units("CUP", 3), self.cancel(first), number=number
            )

            self.assertIsInstance(outcomes[1], Answer)
            self.told[is_filled(first)] += 1
            self.assertTrue(is_filled(second))
            self.assertEqual(self.counters(), (3, 0, 3, 0))
            fulfill_order(a_change(second), picks=None)
            self.assertEqual(self.counters(), (0, 0, 0, 0))
        self.assert_nothing_was_lost()
        self.assertEqual(set(self.told), {True, False})

    def test_a_released_hold_goes_to_who_waits_and_to_nobody_else(self):
        self.given_backorders(on_hand=2)
        for number in range(self.rounds):
            hold_id = given_hold({"CUP": 2}, account=self.account)
            waiting = self.given_waiting(2)

            released, placed = self.at_once(
                self.release(hold_id), self.order({"CUP": 1}), number=number
            )

            self.assertIsInstance(released, Answer)
            self.assertIsInstance(placed, InsufficientStock)
            self.assertTrue(is_filled(waiting))
            self.assertEqual(self.counters(), (2, 0, 2, 0))
            self.cancel(waiting)()
        self.assert_nothing_was_lost()

    def test_who_begins_to_wait_while_a_hold_is_released_gets_its_units(self):
        self.given_backorders(on_hand=2)
        for number in range(self.rounds):
            hold_id = given_hold({"CUP": 2}, account=self.account)

            released, placed = self.at_once(
                self.release(hold_id), self.order({"CUP": 2}, allow_backorder=True), number=number
            )

            self.assertEqual(names([released, placed]), ("done", "done"))
            # Filled: it came first, and waited. Not filled: the units were there when it came.
            self.told[is_filled(placed_order(placed))] += 1
            self.assertEqual(self.counters(), (2, 0, 2, 0))
            self.undo(placed)
        self.assert_nothing_was_lost()
        self.assertEqual(set(self.told), {True, False})

    def test_an_expired_hold_goes_to_who_waits_whoever_sweeps_it(self):
        self.given_backorders(on_hand=2)
        for number in range(self.rounds):
            hold_id = given_hold({"CUP": 2}, account=self.account)
            waiting = self.given_waiting(1)
            let_pass(hold_id)

            swept, placed = self.at_once(
                lambda: usecases.expire_holds(provenance=TESTER, now=NOON),
                self.order({"CUP": 1}),
                number=number,
            )

            self.assertEqual(swept, 1)
            self.assertIsInstance(placed, Answer)
            self.assertTrue(is_filled(waiting))
            self.assertEqual(Hold.objects.get(pk=hold_id).state, "expired")
            self.assertEqual(self.counters(), (2, 0, 2, 0))
            # An order that was short swept it itself, if the sweeper had not come yet.
            expired = Movement.objects.get(kind="expire", hold_id=hold_id)
            self.told[bool(expired.served_version)] += 1
            self.undo(placed)
            self.cancel(waiting)()
        self.assert_nothing_was_lost()
        self.assertEqual(set(self.told), {True, False})

    def release(self, hold_id):
        return lambda: usecases.release_hold(
            hold_id, request=a_request(account_id=self.account.pk), provenance=TESTER, now=NOON
        )


@pytest.mark.prove
@pytest.mark.paired
class TransferRaceTests(TransferRaces, CommittedTestCase):
    rounds = 100


@pytest.mark.prove
@pytest.mark.paired
class StocktakeRaceTests(StocktakeRaces, CommittedTestCase):
    rounds = 100


@pytest.mark.prove
@pytest.mark.paired
class WaitingRaceTests(WaitingRaces, CommittedTestCase):
    rounds = 100


@pytest.mark.soak
class LongTransferRaceTests(TransferRaces, CommittedTestCase):
    rounds = 500


@pytest.mark.soak
class LongStocktakeRaceTests(StocktakeRaces, CommittedTestCase):
    rounds = 500


@pytest.mark.soak
class LongWaitingRaceTests(WaitingRaces, CommittedTestCase):
    rounds = 500


def id_of(answer) -> UUID:
    """Return the id of what an answer tells of."""
    return UUID(orjson.loads(answer.body)["id"])


def is_filled(order) -> bool:
    """Test whether an order waited and got its units afterwards."""
    is_waiting = Allocation.objects.filter(order_id=order.pk, waiting_units__gt=0).exists()
    return not is_waiting and Movement.objects.filter(order_id=order.pk, kind="fill").exists()

"""Whatever sets units free gives them to the order that waits, before anybody else can ask."""

from uuid import UUID

import orjson
from django.test import TestCase

from inventory import usecases
from inventory.models import Allocation, Movement, Sku
from orders.usecases import Comeback, Cut, cancel_order, fulfill_order, return_units
from rollout.codepath import override
from tests.builders import (
    NOON,
    TESTER,
    a_change,
    a_request,
    discrepancies,
    given_account,
    given_hold,
    given_location,
    given_stock,
    let_pass,
    level_of,
    place,
    placed_order,
)


class FreedUnitsTests(TestCase):
    """Of four cups none is free, and an order waits for two."""

    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        self.shop = given_account()
        given_location("annex", priority=1)
        given_stock("CUP", on_hand=4)
        Sku.objects.update(sell_policy="backorder")
        self.policy(backorder_limit=9)

    def tearDown(self):
        self.assertEqual(discrepancies(), [])

    def policy(self, **policy):
        usecases.set_policy("CUP", location="main", provenance=TESTER, now=NOON, **policy)

    def ask(self, verb, **more):
        answer = verb(request=a_request(), provenance=TESTER, now=NOON, **more)
        return orjson.loads(answer.body)

    def order(self, units, **more):
        return placed_order(place({"CUP": units}, account=self.shop, **more))

    def wait(self):
        """Let an order wait for two cups."""
        self.waiting = self.order(2, allow_backorder=True)
        self.assertEqual(Allocation.objects.get(order_id=self.waiting.pk).waiting_units, 2)

    def assert_filled(self, *, after):
        """Prove that it waits no more, and that the ledger filled it right after the cause."""
        self.assertEqual(Allocation.objects.get(order_id=self.waiting.pk).waiting_units, 0)
        level = level_of("CUP")
        rows = Movement.objects.filter(level=level).order_by("-level_version")
        self.assertEqual([row.kind for row in rows[:2]], ["fill", after])
        self.assertEqual(level.waiting, 0)

    def test_a_hold_that_is_released(self):
        hold_id = given_hold({"CUP": 4}, account=self.shop)
        self.wait()

        usecases.release_hold(
            hold_id, request=a_request(account_id=self.shop.pk), provenance=TESTER, now=NOON
        )

        self.assert_filled(after="release")

    def test_a_hold_that_expires(self):
        hold_id = given_hold({"CUP": 4}, account=self.shop)
        self.wait()
        let_pass(hold_id)

        usecases.expire_holds(provenance=TESTER, now=NOON)

        self.assert_filled(after="expire")

    def test_a_hold_that_another_order_lets_go(self):
        hold_id = given_hold({"CUP": 4}, account=self.shop)
        self.wait()
        let_pass(hold_id)

        self.order(1)

        self.assert_filled(after="allocate")
        self.assertEqual(level_of("CUP").available, 1)

    def test_a_hold_that_another_hold_lets_go(self):
        hold_id = given_hold({"CUP": 4}, account=self.shop)
        self.wait()
        let_pass(hold_id)

        given_hold({"CUP": 1}, account=self.shop)

        self.assert_filled(after="hold")

    def test_the_rest_of_a_hold_that_became_an_order(self):
        hold_id = given_hold({"CUP": 4}, account=self.shop)
        self.wait()

        self.order(1, hold=hold_id)

        self.assert_filled(after="release")
        self.assertEqual(level_of("CUP").available, 1)

    def test_an_order_that_is_cancelled_in_part(self):
        first = self.order(4)
        self.wait()

        cancel_order(a_change(first), cuts=[Cut(0, 2)], reason="")

        self.assert_filled(after="release")

    def test_units_that_come_back(self):
        first = self.order(4)
        fulfill_order(a_change(first), picks=None)
        self.wait()

        return_units(a_change(first), comebacks=[Comeback(0, 2, "restock", "main")], reason="")

        self.assert_filled(after="return")

    def test_units_that_come_back_broken_are_nobodys(self):
        first = self.order(4)
        fulfill_order(a_change(first), picks=None)
        self.wait()

        return_units(a_change(first), comebacks=[Comeback(0, 2, "quarantine", "main")], reason="")

        self.assertEqual(level_of("CUP").waiting, 2)

    def test_a_transfer_that_arrives(self):
        transfer_id = self.send(4)
        self.ask(usecases.receive_transfer, transfer_id=transfer_id, quantity=4)
        back = self.send(4, source="annex", destination="main")
        usecases.update_location("annex", is_active=False)
        self.wait()

        self.ask(usecases.receive_transfer, transfer_id=back, quantity=2, is_last=False)

        self.assert_filled(after="transfer_in")

    def test_a_transfer_that_is_turned_back(self):
        transfer_id = self.send(4)
        self.wait()

        self.ask(usecases.cancel_transfer, transfer_id=transfer_id)

        self.assert_filled(after="transfer_in")

    def send(self, quantity, *, source="main", destination="annex"):
        ends = {"sku": "CUP", "source": source, "destination": destination}
        return UUID(self.ask(usecases.send_transfer, quantity=quantity, **ends)["id"])

    def test_units_that_leave_quarantine(self):
        self.ask(usecases.quarantine_stock, sku="CUP", delta=4, reason="recall")
        self.wait()

        self.ask(usecases.quarantine_stock, sku="CUP", delta=-3, reason="recall")

        self.assert_filled(after="quarantine")

    def test_units_that_are_found(self):
        self.order(4)
        self.wait()

        self.ask(usecases.adjust_stock, sku="CUP", delta=3, reason="found")

        self.assert_filled(after="adjust")

    def test_units_that_are_set_against_the_books(self):
        self.order(4)
        self.wait()

        self.ask(usecases.set_stock, sku="CUP", on_hand=7, expected_on_hand=4, reason="correction")

        self.assert_filled(after="adjust")

    def test_units_that_are_counted(self):
        self.order(4)
        self.wait()

        self.ask(usecases.count_stock, sku="CUP", counted=6, expected_on_hand=None)

        self.assert_filled(after="count")

    def test_units_that_a_stocktake_finds(self):
        self.order(4)
        self.wait()
        stocktake_id = UUID(self.ask(usecases.open_stocktake, location="main")["id"])
        self.ask(usecases.count_lines, stocktake_id=stocktake_id, counted={"CUP": 7})

        self.ask(usecases.approve_stocktake, stocktake_id=stocktake_id)

        self.assert_filled(after="count")

    def test_safety_stock_that_is_not_kept_back_any_more(self):
        self.policy(safety=4)
        self.wait()

        self.policy(safety=1)

        self.assert_filled(after="policy")

    def test_a_higher_limit_sets_nothing_free(self):
        self.order(4)
        self.wait()

        self.policy(backorder_limit=20)

        self.assertEqual(level_of("CUP").waiting, 2)

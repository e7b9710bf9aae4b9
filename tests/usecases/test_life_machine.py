"""
Everything that can befall orders and stock, in any order, beside a model in memory.

What is added to the program gets a method of Shop and a rule of LifeMachine.
"""

import json

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from config.errors import AppError
from inventory.models import Sku, StockLevel
from inventory.usecases import (
    adjust_stock,
    cancel_transfer,
    create_location,
    expire_holds,
    extend_hold,
    receive_transfer,
    release_hold,
    send_transfer,
    set_stock,
)
from orders.models import Order
from orders.usecases import (
    Comeback,
    Cut,
    Pick,
    cancel_order,
    expire_orders,
    fulfill_order,
    record_payment,
    return_units,
)
from tests.builders import (
    NOON,
    TESTER,
    a_change,
    a_payment,
    a_request,
    discrepancies,
    given_account,
    given_hold,
    given_stock,
    let_pass,
    level_of,
    place,
    placed_order,
)
from tests.committed import CommittedTestCase
from tests.paper_shop import CODES, LIMITS, OPENING, PRICE, Shop

units = st.integers(1, 4)
codes = st.sampled_from(CODES)
positions = st.integers(0, 1)


class LifeMachine(RuleBasedStateMachine):
    orders = Bundle("orders")
    holds = Bundle("holds")
    carts = Bundle("carts")

    @initialize()
    def open_shop(self):
        empty_the_books()
        self.account = given_account()
        self.shop = Shop()
        for code in CODES:
            given_stock(code, on_hand=OPENING, price_minor=PRICE)
        Sku.objects.filter(code="CUP").update(sell_policy="backorder")
        StockLevel.objects.filter(sku__code="CUP").update(backorder_limit=LIMITS["CUP"])
        create_location(code="barn", name="Barn", is_active=False)

    def teardown(self):
        assert discrepancies() == []

    def both(self, would_do, do):
        """Do what the model says would be done, or have it refused."""
        try:
            do()
        except AppError:
            assert not would_do
        else:
            assert would_do

    @rule(target=orders, cups=units, pots=units, may_wait=st.booleans())
    def place(self, cups, pots, may_wait):
        paper = self.shop.place(cups, pots, may_wait=may_wait)
        return self.placed(paper, cups, pots, allow_backorder=may_wait)

    @rule(target=orders, hold=holds, cups=units, pots=units, may_wait=st.booleans())
    def place_what_is_held(self, hold, cups, pots, may_wait):
        hold_id, slip = hold
        paper = self.shop.place(cups, pots, may_wait=may_wait, slip=slip)
        return self.placed(paper, cups, pots, allow_backorder=may_wait, hold=hold_id)

    def placed(self, paper, cups, pots, **more):
        try:
            answer = place(
                {"CUP": cups, "POT": pots}, account=self.account, pay_within_s=3600, **more
            )
        except AppError:
            assert paper is None
            return multiple()
        assert paper is not None
        return placed_order(answer), paper

    @rule(target=holds, cups=units, pots=units)
    def hold(self, cups, pots):
        slip = self.shop.hold(cups, pots)
        try:
            hold_id = given_hold({"CUP": cups, "POT": pots}, account=self.account)
        except AppError:
            assert slip is None
            return multiple()
        assert slip is not None
        return hold_id, slip

    @rule(hold=holds)
    def extend_hold(self, hold):
        hold_id, slip = hold
        request = a_request(account_id=self.account.pk)
        self.both(
            slip.is_good,
            lambda: extend_hold(hold_id, request=request, expires_in_s=1800, now=NOON),
        )

    @rule(hold=holds)
    def release_hold(self, hold):
        hold_id, slip = hold
        request = a_request(account_id=self.account.pk)
        self.both(
            self.shop.release_hold(slip),
            lambda: release_hold(hold_id, request=request, provenance=TESTER, now=NOON),
        )

    @rule(hold=holds)
    def let_a_hold_pass(self, hold):
        hold_id, slip = hold
        if slip.is_good:
            slip.is_over = True
            self.shop.due.append(slip)
            let_pass(hold_id)

    @rule()
    def expire_holds(self):
        assert expire_holds(provenance=TESTER, now=NOON) == self.shop.expire_holds()

    @rule(target=carts, code=codes, loaded=units, is_to_barn=st.booleans())
    def transfer(self, code, loaded, is_to_barn):
        cart = self.shop.load(code, loaded, is_to_barn=is_to_barn)
        places = ("main", "barn") if is_to_barn else ("barn", "main")
        try:
            answer = send_transfer(
                request=a_request(),
                sku=code,
                quantity=loaded,
                source=places[0],
                destination=places[1],
                provenance=TESTER,
                now=NOON,
            )
        except AppError:
            assert cart is None
            return multiple()
        assert cart is not None
        return json.loads(answer.body)["id"], cart

    @rule(cart=carts, arrived=st.integers(0, 5), is_last=st.booleans())
    def receive_transfer(self, cart, arrived, is_last):
        transfer_id, paper = cart
        self.both(
            self.shop.unload(paper, arrived, is_last=is_last),
            lambda: receive_transfer(
                request=a_request(),
                transfer_id=transfer_id,
                quantity=arrived,
                is_last=is_last,
                reason="other",
                provenance=TESTER,
                now=NOON,
            ),
        )

    @rule(cart=carts)
    def cancel_transfer(self, cart):
        transfer_id, paper = cart
        self.both(
            self.shop.turn_back(paper),
            lambda: cancel_transfer(
                request=a_request(), transfer_id=transfer_id, provenance=TESTER, now=NOON
            ),
        )

    @rule(order=orders)
    def cancel(self, order):
        row, paper = order
        self.both(
            self.shop.cancel(paper, None),
            lambda: cancel_order(a_change(row), cuts=None, reason=""),
        )

    @rule(order=orders, position=positions, wanted=units)
    def cancel_some(self, order, position, wanted):
        row, paper = order
        self.both(
            self.shop.cancel(paper, [(position, wanted)]),
            lambda: cancel_order(a_change(row), cuts=[Cut(position, wanted)], reason=""),
        )

    @rule(order=orders, position=positions, sent=units, short=st.integers(0, 1))
    def send(self, order, position, sent, short):
        row, paper = order
        self.both(
            self.shop.send(paper, position, sent, short),
            lambda: fulfill_order(a_change(row), picks=[Pick(position, sent, short)]),
        )

    @rule(
        order=orders,
        position=positions,
        back=st.integers(1, 2),
        disposition=st.sampled_from(["restock", "quarantine", "scrap"]),
    )
    def take_back(self, order, position, back, disposition):
        row, paper = order
        comeback = Comeback(position, back, disposition, "main")
        self.both(
            self.shop.take_back(paper, position, back, disposition),
            lambda: return_units(a_change(row), comebacks=[comeback], reason=""),
        )

    @rule(
        order=orders,
        kind=st.sampled_from(["authorized", "captured", "refunded", "failed"]),
        part=st.sampled_from([1, PRICE, None]),
    )
    def pay(self, order, kind, part):
        row, paper = order
        amount = row.total_minor if part is None else part
        self.both(
            self.shop.pay(paper, kind, amount),
            lambda: record_payment(a_change(row), payment=a_payment(kind, amount)),
        )

    @rule(order=orders)
    def let_time_pass(self, order):
        row, paper = order
        paper.is_overdue = True
        Order.objects.filter(pk=row.pk).update(pay_before=NOON.replace(year=2020))

    @rule()
    def expire(self):
        assert expire_orders(provenance=TESTER, now=NOON, limit=100) == self.shop.expire()

    @rule(order=consumes(orders))
    def forget(self, order):
        """Leave an order alone from now on, so that others have their turn."""

    @rule(code=codes, delta=st.integers(-5, 8).filter(bool))
    def adjust(self, code, delta):
        self.both(
            self.shop.adjust(code, delta),
            lambda: adjust_stock(
                request=a_request(),
                sku=code,
                delta=delta,
                reason="other",
                provenance=TESTER,
                now=NOON,
            ),
        )

    @rule(code=codes, found=st.integers(0, OPENING))
    def count(self, code, found):
        on_hand = self.shop.shelves[code].on_hand
        self.both(
            self.shop.adjust(code, found - on_hand),
            lambda: set_stock(
                request=a_request(),
                sku=code,
                on_hand=found,
                expected_on_hand=on_hand,
                reason="count",
                provenance=TESTER,
                now=NOON,
            ),
        )

    @invariant()
    def the_stock_is_what_the_model_says(self):
        for code, shelf in self.shop.shelves.items():
            level = level_of(code)
            names = ("on_hand", "unavailable", "held", "allocated", "waiting")
            assert [getattr(level, name) for name in names] == [
                getattr(shelf, name) for name in names
            ], code
            assert level.incoming == shelf.coming, code
            assert level.shortfall == max(0, shelf.promised - shelf.there), code
            barn = StockLevel.objects.filter(sku__code=code, location__code="barn")
            assert list(barn.values_list("on_hand", "incoming")) in (
                [(shelf.barn, shelf.coming_to_barn)],
                [] if shelf.barn == shelf.coming_to_barn == 0 else None,
            ), code

    @invariant()
    def each_order_is_what_the_model_says(self):
        told = [
            (
                order.status,
                order.payment_status,
                order.fulfillment_status,
                order.version,
                order.state.due_minor,
            )
            for order in Order.objects.order_by("number").prefetch_related("lines")
        ]
        assert told == [
            (paper.status, paper.payment, paper.fulfillment, paper.version, paper.due)
            for paper in self.shop.papers
        ]


def empty_the_books():
    CommittedTestCase._fixture_teardown(None)
    connection.ensure_connection()


class LifeTests(CommittedTestCase):
    def live(self, *, runs, steps):
        run_state_machine_as_test(
            LifeMachine,
            settings=settings(
                max_examples=runs,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

    def test_goes_as_the_model_says(self):
        self.live(runs=8, steps=25)

    @pytest.mark.prove
    @pytest.mark.paired
    def test_goes_as_the_model_says_for_long(self):
        self.live(runs=20, steps=50)

    @pytest.mark.soak
    def test_goes_as_the_model_says_for_ever(self):
        self.live(runs=500, steps=50)

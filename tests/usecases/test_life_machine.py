"""
Everything that can befall orders and stock, in any order, beside a model in memory.

The model knows nothing of the program: it says what a shop would do with a pencil. What is added
to the program gets a method of Shop and a rule of LifeMachine.
"""

from dataclasses import dataclass, field

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
from inventory.usecases import adjust_stock, set_stock
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
    given_stock,
    level_of,
    place,
    placed_order,
)
from tests.committed import CommittedTestCase

CODES = ("CUP", "POT")
PRICE = 100
OPENING = 12

units = st.integers(1, 4)
codes = st.sampled_from(CODES)
positions = st.integers(0, 1)


@dataclass
class Shelf:
    on_hand: int
    unavailable: int = 0
    allocated: int = 0

    @property
    def there(self) -> int:
        return self.on_hand - self.unavailable

    @property
    def free(self) -> int:
        return self.there - self.allocated


@dataclass
class Line:
    sku: str
    quantity: int
    cancelled: int = 0
    sent: int = 0
    back: int = 0

    @property
    def open(self) -> int:
        return self.quantity - self.cancelled - self.sent


@dataclass
class Paper:
    """An order as somebody keeps it on paper."""

    lines: list[Line]
    status: str = "placed"
    authorized: int = 0
    captured: int = 0
    refunded: int = 0
    has_failed: bool = False
    is_overdue: bool = False
    version: int = 1

    @property
    def open(self) -> int:
        return sum(line.open for line in self.lines)

    @property
    def sent(self) -> int:
        return sum(line.sent for line in self.lines)

    @property
    def due(self) -> int:
        return PRICE * (self.open + self.sent)

    @property
    def payment(self) -> str:
        if self.refunded and self.refunded >= self.captured:
            return "refunded"
        if self.captured:
            return "paid" if self.captured >= self.due else "partially_paid"
        if self.authorized:
            return "authorized"
        return "failed" if self.has_failed else "unpaid"

    @property
    def fulfillment(self) -> str:
        if self.sent == 0:
            return "unfulfilled"
        if self.open:
            return "partial"
        came_back = sum(line.back for line in self.lines)
        return "returned" if came_back == self.sent else "fulfilled"

    @property
    def is_covered(self) -> bool:
        had = max(self.authorized, self.captured) - self.refunded
        return had > 0 and had >= self.due

    def turn(self) -> None:
        """Write one more version, in the status that it now has."""
        self.version += 1
        if self.status not in ("placed", "confirmed"):
            return
        if self.open == 0 and self.sent == 0:
            self.status = "cancelled"
        elif self.open == 0 and self.captured >= self.due:
            self.status = "closed"
        elif self.sent or self.is_covered:
            self.status = "confirmed"


@dataclass
class Shop:
    """What is there, and who was promised what. Each method says whether the shop would do it."""

    shelves: dict[str, Shelf] = field(
        default_factory=lambda: {code: Shelf(OPENING) for code in CODES}
    )
    papers: list[Paper] = field(default_factory=list)

    def place(self, cups: int, pots: int) -> Paper | None:
        paper = Paper([Line("CUP", cups), Line("POT", pots)])
        if not self._promise(paper):
            return None
        self.papers.append(paper)
        return paper

    def _promise(self, paper: Paper) -> bool:
        if any(self.shelves[line.sku].free < line.open for line in paper.lines if line.open):
            return False
        for line in paper.lines:
            self.shelves[line.sku].allocated += line.open
        return True

    def cancel(self, paper: Paper, cuts: list[tuple[int, int]] | None) -> bool:
        if cuts is None:
            cuts = [(n, line.open) for n, line in enumerate(paper.lines) if line.open]
        if paper.status not in ("placed", "confirmed") or not cuts:
            return False
        if any(paper.lines[n].open < wanted for n, wanted in cuts):
            return False
        for n, wanted in cuts:
            paper.lines[n].cancelled += wanted
            self.shelves[paper.lines[n].sku].allocated -= wanted
        paper.turn()
        return True

    def send(self, paper: Paper, position: int, sent: int, short: int) -> bool:
        line = paper.lines[position]
        shelf = self.shelves[line.sku]
        gone = sent + short
        if paper.status not in ("placed", "confirmed") or min(line.open, shelf.there) < gone:
            return False
        line.sent += sent
        line.cancelled += short
        shelf.on_hand -= sent
        shelf.unavailable += short
        shelf.allocated -= gone
        paper.turn()
        return True

    def take_back(self, paper: Paper, position: int, back: int, disposition: str) -> bool:
        line = paper.lines[position]
        if paper.status not in ("confirmed", "closed") or line.sent - line.back < back:
            return False
        line.back += back
        shelf = self.shelves[line.sku]
        shelf.on_hand += back if disposition != "scrap" else 0
        shelf.unavailable += back if disposition == "quarantine" else 0
        paper.version += 1
        return True

    def pay(self, paper: Paper, kind: str, amount: int) -> bool:
        if kind == "failed":
            paper.has_failed = True
        else:
            setattr(paper, kind, getattr(paper, kind) + amount)
        paper.turn()
        is_promise = kind in ("authorized", "captured")
        if paper.status == "expired" and is_promise and paper.is_covered and self._promise(paper):
            paper.status = "confirmed"
        return True

    def expire(self) -> int:
        over = [
            paper
            for paper in self.papers
            if paper.is_overdue
            and paper.status == "placed"
            and paper.payment in ("unpaid", "failed")
        ]
        for paper in over:
            for line in paper.lines:
                self.shelves[line.sku].allocated -= line.open
            paper.status = "expired"
            paper.version += 1
        return len(over)

    def adjust(self, code: str, delta: int) -> bool:
        shelf = self.shelves[code]
        if shelf.on_hand + delta < 0:
            return False
        shelf.on_hand += delta
        shelf.unavailable = min(shelf.unavailable, shelf.on_hand)
        return True


class LifeMachine(RuleBasedStateMachine):
    orders = Bundle("orders")

    @initialize()
    def open_shop(self):
        empty_the_books()
        self.account = given_account()
        self.shop = Shop()
        for code in CODES:
            given_stock(code, on_hand=OPENING, price_minor=PRICE)

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

    @rule(target=orders, cups=units, pots=units)
    def place(self, cups, pots):
        paper = self.shop.place(cups, pots)
        try:
            placed = place({"CUP": cups, "POT": pots}, account=self.account, pay_within_s=3600)
        except AppError:
            assert paper is None
            return multiple()
        assert paper is not None
        return placed_order(placed), paper

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
            assert (level.on_hand, level.unavailable, level.allocated) == (
                shelf.on_hand,
                shelf.unavailable,
                shelf.allocated,
            ), code
            assert level.shortfall == max(0, -shelf.free), code

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
    def test_goes_as_the_model_says_for_long(self):
        self.live(runs=20, steps=50)

    @pytest.mark.soak
    def test_goes_as_the_model_says_for_ever(self):
        self.live(runs=500, steps=50)

"""Two who change one order at once, and many who change many: stock comes back exactly once."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from config.errors import AppError
from events.usecases import Answer
from orders.models import Order
from orders.usecases import (
    Comeback,
    InsufficientStock,
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
    given_stock,
    level_of,
    place,
    placed_order,
)
from tests.committed import CommittedTestCase
from tests.races.rivals import Rivals, names


class Races(Rivals):
    """Races about one order after another."""

    steps: int

    def given_order(self, units, **more):
        return placed_order(place(units, account=self.account, **more))

    def cancel(self, order):
        return lambda: cancel_order(a_change(order), cuts=None, reason="")

    def ship(self, order):
        return lambda: fulfill_order(a_change(order), picks=None)

    def test_two_who_cancel_one_order(self):
        given_stock("CUP", on_hand=10)
        given_stock("POT", on_hand=10)
        for number in range(self.rounds):
            order = self.given_order({"CUP": 3, "POT": 2})

            outcomes = self.at_once(self.cancel(order), self.cancel(order), number=number)

            self.told[names(outcomes)] += 1
            self.assertEqual((self.stock("CUP"), self.stock("POT")), ((10, 0), (10, 0)))
        self.assert_nothing_was_lost()
        self.assertEqual(
            set(self.told), {("done", "OrderStateConflict"), ("OrderStateConflict", "done")}
        )

    def test_one_who_cancels_and_one_who_sends(self):
        given_stock("CUP", on_hand=10)
        shipped = 0
        for number in range(self.rounds):
            order = self.given_order({"CUP": 1})

            outcomes = self.at_once(self.cancel(order), self.ship(order), number=number)

            self.told[names(outcomes)] += 1
            if isinstance(outcomes[1], Answer):
                shipped += 1
                self.assertEqual(self.stock("CUP"), (9, 0))
                self.adjust(1)
            self.assertEqual(self.stock("CUP"), (10, 0))
        self.assert_nothing_was_lost()
        self.assertEqual(
            set(self.told), {("done", "OrderStateConflict"), ("OrderStateConflict", "done")}
        )
        self.assertEqual(shipped, self.told["OrderStateConflict", "done"])

    def test_one_who_expires_and_one_who_pays(self):
        given_stock("CUP", on_hand=2 * self.rounds)
        for number in range(self.rounds):
            order = self.given_order({"CUP": 2}, pay_within_s=60)
            Order.objects.filter(pk=order.pk).update(pay_before=NOON.replace(year=2020))
            paid = a_payment("captured", order.total_minor)

            expired, told = self.at_once(
                lambda: expire_orders(provenance=TESTER, now=NOON, limit=10),
                lambda order=order, paid=paid: record_payment(a_change(order), payment=paid),
                number=number,
            )

            self.told[expired] += 1
            self.assertIsInstance(told, Answer)
            order.refresh_from_db()
            # Whoever came first: the money is there, and so are the units.
            self.assertEqual((order.status, order.payment_status), ("confirmed", "paid"))
            self.assertEqual(order.version, 2 + expired)
            self.assertEqual(level_of("CUP").allocated, 2 * (number + 1))
        self.assert_nothing_was_lost()
        self.assertEqual(set(self.told), {0, 1})

    def test_one_who_orders_and_one_who_counts_away(self):
        given_stock("CUP", on_hand=5)
        for number in range(self.rounds):
            placed, adjusted = self.at_once(
                lambda: place({"CUP": 3}, account=self.account),
                lambda: self.adjust(-4),
                number=number,
            )

            self.told[names([placed])] += 1
            self.assertIsInstance(adjusted, Answer)
            level = level_of("CUP")
            if isinstance(placed, Answer):
                self.assertEqual((level.on_hand, level.allocated, level.shortfall), (1, 3, 2))
                cancel_order(a_change(placed_order(placed)), cuts=None, reason="")
            else:
                self.assertIsInstance(placed, InsufficientStock)
            self.adjust(4)
            level = level_of("CUP")
            self.assertEqual((level.on_hand, level.allocated, level.shortfall), (5, 0, 0))
        self.assert_nothing_was_lost()
        self.assertEqual(set(self.told), {("done",), ("InsufficientStock",)})

    def test_many_who_do_everything_never_wait_for_each_other_crosswise(self):
        codes = [f"SKU-{n}" for n in range(5)]
        for code in codes:
            given_stock(code, on_hand=60)
        orders = [self.given_order(basket(codes), pay_within_s=60) for _ in range(12)]
        Order.objects.update(pay_before=NOON.replace(year=2020))

        def work(seed):
            dice = random.Random(seed)
            for _ in range(self.steps):
                try:
                    self.do_something(dice, orders, codes)
                except AppError as refusal:
                    self.told[type(refusal).__name__] += 1
                else:
                    self.told["done"] += 1
            connection.close()

        with ThreadPoolExecutor(6) as crowd:
            list(crowd.map(work, range(6)))

        self.assert_nothing_was_lost()
        self.assertGreater(self.told["done"], self.steps)

    def do_something(self, dice, orders, codes):
        order = dice.choice(orders)
        back = Comeback(0, 1, dice.choice(["restock", "quarantine", "scrap"]), "main")
        payment = a_payment("captured", dice.choice([1, order.total_minor]))
        dice.choice(
            [
                lambda: orders.append(self.given_order(basket(codes, dice), pay_within_s=60)),
                lambda: cancel_order(a_change(order), cuts=None, reason=""),
                lambda: fulfill_order(a_change(order), picks=[Pick(0, 1, dice.choice([0, 1]))]),
                lambda: fulfill_order(a_change(order), picks=None),
                lambda: return_units(a_change(order), comebacks=[back], reason=""),
                lambda: record_payment(a_change(order), payment=payment),
                lambda: expire_orders(provenance=TESTER, now=NOON, limit=3),
                lambda: self.adjust(dice.choice([-2, 3]), sku=dice.choice(codes)),
            ]
        )()


@pytest.mark.prove
@pytest.mark.paired
class RaceTests(Races, CommittedTestCase):
    rounds = 100
    steps = 60


@pytest.mark.soak
class LongRaceTests(Races, CommittedTestCase):
    rounds = 500
    steps = 400


def basket(codes, dice=random) -> dict[str, int]:
    """Return some units of three SKUs, in any order."""
    return {code: dice.randint(1, 3) for code in dice.sample(codes, 3)}

"""The transition table, in every corner."""

import itertools
import unittest
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from config.errors import ValidationFailed
from orders import lifecycle
from orders.lifecycle import (
    TRANSITIONS,
    Action,
    Comeback,
    Cut,
    OrderChanged,
    OrderStateConflict,
    Payment,
    Pick,
)
from orders.rules import TOTAL_MINOR_MAX
from orders.states import Attention, LineState, OrderState, Status

CUPS = LineState(0, "CUP", 4, 250)
POTS = LineState(1, "POT", 1, 900)


def an_order(*lines, **more):
    lines = lines or (CUPS, POTS)
    total = sum(line.quantity * line.unit_price_minor for line in lines)
    told = {"status": Status.PLACED, "total_minor": total} | more
    return OrderState(UUID(int=1), 7, 1, currency="EUR", lines=lines, **told)


def money(kind, amount_minor, currency="EUR"):
    return Payment(kind, "bank", "evt-1", amount_minor, currency)


def do(order, action):
    """Do the simplest thing of its kind to an order."""
    return {
        Action.PAY: lambda: lifecycle.pay(order, money("failed", 0)),
        Action.FULFILL: lambda: lifecycle.fulfill(order, [Pick(0, 1)]),
        Action.CANCEL: lambda: lifecycle.cancel(order, [Cut(0, 1)]),
        Action.EXPIRE: lambda: lifecycle.expire(order),
        Action.REINSTATE: lambda: lifecycle.reinstate(order, attention=None),
        Action.RETURN: lambda: lifecycle.take_back(order, [Comeback(0, 1, "scrap", "main")]),
        Action.NOTE: lambda: lifecycle.note(order, resolves_attention=False),
    }[action]()


class TableTests(unittest.TestCase):
    def test_what_is_not_in_the_table_is_refused_and_what_is_goes_where_it_says(self):
        sent = (CUPS._replace(fulfilled=2), POTS)
        for action, status in itertools.product(Action, Status):
            with self.subTest(action=action, status=status):
                order = an_order(*sent, status=status)
                if status in TRANSITIONS[action]:
                    self.assertIn(do(order, action).status, TRANSITIONS[action][status])
                else:
                    with self.assertRaises(OrderStateConflict) as caught:
                        do(order, action)
                    self.assertEqual(caught.exception.order_status, status.value)
                    self.assertEqual(caught.exception.action, action.value)

    def test_nothing_leads_out_of_what_has_ended(self):
        for status in (Status.CLOSED, Status.CANCELLED):
            for action, after in TRANSITIONS.items():
                self.assertIn(after.get(status, {status}), ({status}, frozenset({status})), action)

    def test_only_a_late_payment_leads_back_from_expired(self):
        leads_out = {
            a
            for a, after in TRANSITIONS.items()
            if after.get(Status.EXPIRED, set()) - {Status.EXPIRED}
        }

        self.assertEqual(leads_out, {Action.REINSTATE})

    def test_every_status_can_be_reached(self):
        reached = {Status.PLACED}
        for _ in Status:
            reached |= {
                to
                for after in TRANSITIONS.values()
                for status, leads in after.items()
                if status in reached
                for to in leads
            }

        self.assertEqual(reached, set(Status))


class MoneyTests(unittest.TestCase):
    def test_an_authorization_of_all_that_is_due_confirms(self):
        order = lifecycle.pay(an_order(), money("authorized", 1900))

        self.assertEqual((order.status, order.payment_status), ("confirmed", "authorized"))

    def test_a_part_does_not(self):
        order = lifecycle.pay(an_order(), money("captured", 1899))

        self.assertEqual((order.status, order.payment_status), ("placed", "partially_paid"))

    def test_parts_add_up(self):
        order = lifecycle.pay(an_order(), money("captured", 1000))
        order = lifecycle.pay(order, money("captured", 900))

        self.assertEqual((order.status, order.payment_status), ("confirmed", "paid"))

    def test_a_failure_is_forgotten_as_soon_as_money_comes(self):
        failed = lifecycle.pay(an_order(), money("failed", 1900))
        paid = lifecycle.pay(failed, money("captured", 1900))

        self.assertEqual((failed.payment_status, paid.payment_status), ("failed", "paid"))

    def test_a_refund_may_come_before_its_capture(self):
        early = lifecycle.pay(an_order(), money("refunded", 500))
        self.assertEqual(early.attention, Attention.REFUND_EXCEEDS_PAYMENT)

        order = lifecycle.pay(early, money("captured", 1900))

        self.assertEqual((order.payment_status, order.refunded_minor), ("paid", 500))

    def test_a_whole_refund_is_told(self):
        order = lifecycle.pay(an_order(captured_minor=1900), money("refunded", 1900))

        self.assertEqual(order.payment_status, "refunded")

    def test_what_does_not_fit_asks_for_attention(self):
        for status, kind, amount, attention in (
            (Status.EXPIRED, "captured", 1900, Attention.LATE_PAYMENT),
            (Status.EXPIRED, "refunded", 1900, Attention.REFUND_EXCEEDS_PAYMENT),
            (Status.CONFIRMED, "captured", 1901, Attention.OVERPAID),
            (Status.CONFIRMED, "captured", 1900, None),
        ):
            with self.subTest(status=status, kind=kind):
                order = lifecycle.pay(an_order(status=status), money(kind, amount))

                self.assertEqual(order.attention, attention)

    def test_money_for_a_cancelled_order_asks_for_attention(self):
        cancelled = lifecycle.cancel(an_order(), None)

        order = lifecycle.pay(cancelled, money("captured", 1900))

        self.assertEqual(order.attention, Attention.PAID_AFTER_CANCELLATION)
        self.assertEqual(order.status, Status.CANCELLED)

    def test_refuses_another_currency(self):
        with self.assertRaises(ValidationFailed):
            lifecycle.pay(an_order(), money("captured", 1900, "GBP"))

    def test_refuses_more_than_a_sum_can_hold(self):
        for kind in ("authorized", "captured", "refunded"):
            with self.subTest(kind):
                full = lifecycle.pay(an_order(), money(kind, TOTAL_MINOR_MAX))

                with self.assertRaises(ValidationFailed) as refused:
                    lifecycle.pay(full, money(kind, 1))

                self.assertEqual(refused.exception.errors[0]["code"], "sum_out_of_range")

    def test_a_discount_that_pays_for_what_is_left_confirms(self):
        order = lifecycle.cancel(an_order(total_minor=1000), [Cut(0, 4)])

        self.assertEqual((order.due_minor, order.status), (0, "confirmed"))

    def test_what_asked_for_attention_before_a_late_payment_asks_for_it_again(self):
        for before, captured, after in (
            (None, 1900, None),
            (Attention.LATE_PAYMENT, 1900, None),
            (Attention.REFUND_EXCEEDS_PAYMENT, 1900, Attention.REFUND_EXCEEDS_PAYMENT),
            (None, 1901, Attention.OVERPAID),
        ):
            with self.subTest(before=before, captured=captured):
                late = lifecycle.pay(an_order(status=Status.EXPIRED), money("captured", captured))

                order = lifecycle.reinstate(late, attention=before)

                self.assertEqual((order.status, order.attention), ("confirmed", after))


class UnitsTests(unittest.TestCase):
    def test_all_sent_and_paid_is_closed(self):
        order = lifecycle.fulfill(an_order(captured_minor=1900), None)

        self.assertEqual((order.status, order.fulfillment_status), ("closed", "fulfilled"))

    def test_all_sent_and_not_paid_waits_for_its_money(self):
        sent = lifecycle.fulfill(an_order(), None)
        paid = lifecycle.pay(sent, money("captured", 1900))

        self.assertEqual((sent.status, sent.payment_status), ("confirmed", "unpaid"))
        self.assertEqual(paid.status, Status.CLOSED)

    def test_the_rest_cancelled_closes_what_was_sent_and_paid(self):
        order = lifecycle.fulfill(an_order(captured_minor=1000), [Pick(0, 4)])
        self.assertEqual((order.status, order.fulfillment_status), ("confirmed", "partial"))

        order = lifecycle.cancel(order, None)

        self.assertEqual((order.status, order.due_minor), ("closed", 1000))

    def test_all_cancelled_owes_nothing_not_even_postage(self):
        order = lifecycle.cancel(an_order(total_minor=2400), None)

        self.assertEqual((order.status, order.due_minor), ("cancelled", 0))

    def test_units_that_nobody_found_are_cancelled_and_ask_for_attention(self):
        order = lifecycle.fulfill(an_order(), [Pick(0, 3, short=1), Pick(1, 1)])

        self.assertEqual(order.attention, Attention.SHORT)
        self.assertEqual((order.lines[0].cancelled, order.due_minor), (1, 1650))
        self.assertEqual(order.fulfillment_status, "fulfilled")

    def test_all_that_nobody_found_is_a_cancelled_order(self):
        order = lifecycle.fulfill(an_order(), [Pick(0, 0, short=4), Pick(1, 0, short=1)])

        self.assertEqual((order.status, order.fulfillment_status), ("cancelled", "unfulfilled"))

    def test_all_come_back_is_returned(self):
        sent = lifecycle.fulfill(an_order(), None)

        some = lifecycle.take_back(sent, [Comeback(0, 4, "restock", "main")])
        every = lifecycle.take_back(some, [Comeback(1, 1, "scrap", "main")])

        self.assertEqual(some.fulfillment_status, "fulfilled")
        self.assertEqual(every.fulfillment_status, "returned")

    def test_refuses_more_than_there_is_and_says_how_much_is_possible(self):
        order = an_order(
            CUPS._replace(fulfilled=2, cancelled=1, returned=1), POTS, status=Status.CONFIRMED
        )
        for refused in (
            lambda: lifecycle.cancel(order, [Cut(1, 1), Cut(0, 2)]),
            lambda: lifecycle.fulfill(order, [Pick(1, 1), Pick(0, 1, short=1)]),
            lambda: lifecycle.take_back(
                order, [Comeback(0, 1, "scrap", "main"), Comeback(0, 1, "scrap", "main")]
            ),
        ):
            with self.assertRaises(OrderStateConflict) as caught:
                refused()
            (fault,) = caught.exception.errors
            self.assertEqual(fault["pointer"], "/lines/1/quantity")

    def test_refuses_a_line_that_is_not_there(self):
        with self.assertRaises(ValidationFailed) as caught:
            lifecycle.cancel(an_order(), [Cut(0, 1), Cut(2, 1)])

        self.assertEqual(caught.exception.errors[0]["pointer"], "/lines/1/position")

    def test_refuses_to_cancel_or_send_nothing(self):
        sent = lifecycle.fulfill(an_order(), None)

        for action in (lifecycle.cancel, lifecycle.fulfill):
            with self.assertRaises(OrderStateConflict):
                action(sent, None)


class VersionTests(unittest.TestCase):
    def test_an_order_at_another_version_is_refused(self):
        lifecycle.check_version(an_order(), None)
        lifecycle.check_version(an_order(), frozenset({1, 2}))
        for versions in (frozenset({2}), frozenset()):
            with self.assertRaises(OrderChanged):
                lifecycle.check_version(an_order(), versions)


ACTIONS = st.one_of(
    st.tuples(st.just("cancel"), st.integers(0, 1), st.integers(1, 4)),
    st.tuples(st.just("fulfill"), st.integers(0, 1), st.integers(1, 4)),
    st.tuples(st.just("short"), st.integers(0, 1), st.integers(1, 4)),
    st.tuples(st.just("return"), st.integers(0, 1), st.integers(1, 4)),
    st.tuples(
        st.sampled_from(["authorized", "captured", "refunded", "failed"]),
        st.just(0),
        st.integers(1, 2000),
    ),
    st.tuples(st.sampled_from(["expire", "reinstate", "note"]), st.just(0), st.just(0)),
)


class AnyLifeTests(unittest.TestCase):
    @given(st.lists(ACTIONS, max_size=25))
    def test_units_and_versions_add_up_whatever_is_tried(self, actions):
        order = an_order()
        for name, position, n in actions:
            try:
                after = self.act(order, name, position, n)
            except OrderStateConflict:
                continue
            self.assertEqual(after.version, order.version + (name != "reinstate"))
            for line in after.lines:
                self.assertEqual(line.open + line.cancelled + line.fulfilled, line.quantity)
                self.assertTrue(line.open >= 0 and 0 <= line.returned <= line.fulfilled)
            is_gone = after.open_units + after.fulfilled_units == 0
            self.assertEqual(after.status == Status.CANCELLED, is_gone)
            if after.status == Status.CLOSED:
                self.assertEqual(after.open_units, 0)
                self.assertTrue(after.is_settled)
            if after.status in (Status.PLACED, Status.EXPIRED):
                self.assertEqual(after.fulfilled_units, 0)
            self.assertTrue(0 <= after.due_minor <= after.total_minor)
            order = after

    def act(self, order, name, position, n):
        back = Comeback(position, n, "restock", "main")
        actions = {
            "cancel": lambda: lifecycle.cancel(order, [Cut(position, n)]),
            "fulfill": lambda: lifecycle.fulfill(order, [Pick(position, n)]),
            "short": lambda: lifecycle.fulfill(order, [Pick(position, 0, short=n)]),
            "return": lambda: lifecycle.take_back(order, [back]),
            "expire": lambda: lifecycle.expire(order),
            "reinstate": lambda: lifecycle.reinstate(order, attention=None),
            "note": lambda: lifecycle.note(order, resolves_attention=True),
        }
        return actions.get(name, lambda: lifecycle.pay(order, money(name, n)))()

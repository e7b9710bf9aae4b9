"""What becomes of an order, its stock, its money and its timeline."""

import json
from datetime import timedelta
from io import StringIO
from uuid import uuid4

from django.core.management import call_command
from django.test import TestCase
from django.utils import timezone

from config.errors import ValidationFailed
from events.models import Event
from events.usecases import IdempotencyKeyReused, StoredRefusal
from inventory.models import Movement
from inventory.usecases import NotAllocated, NotOnHand, adjust_stock
from orders.lifecycle import Comeback, Cut, Pick
from orders.models import Note, Order, UnitChange
from orders.usecases import (
    OrderChanged,
    OrderNotFound,
    OrderStateConflict,
    PaymentEventReused,
    add_note,
    cancel_order,
    expire_orders,
    fulfill_order,
    record_payment,
    return_units,
)
from rollout.codepath import override
from tests.builders import (
    NOON,
    TESTER,
    a_change,
    a_payment,
    a_request,
    given_account,
    given_sku,
    given_stock,
    level_of,
    place,
    placed_order,
    what_moved,
)


class LifeTests(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        given_stock("CUP", on_hand=10)
        given_stock("POT", on_hand=5, price_minor=900)
        given_sku("WRAP", price_minor=100, is_tracked=False)
        self.account = given_account()
        # 3 x 2.50 + 1 x 9.00 + 2 x 1.00
        self.order = self.given_order({"CUP": 3, "POT": 1, "WRAP": 2})

    def given_order(self, units, **more):
        return placed_order(place(units, account=self.account, **more))

    def refused(self, refusal, change, *, moved=0):
        """Return the refusal, after checking that nothing but answered keys moved."""
        before = what_moved()
        with self.assertRaises(refusal) as caught:
            change()
        kept = {"answered_keys": before["answered_keys"] + moved}
        self.assertEqual(what_moved(), before | kept)
        return caught.exception

    def stock(self, code):
        level = level_of(code)
        return level.on_hand, level.allocated, level.unavailable

    def timeline(self):
        events = Event.objects.filter(aggregate_id=str(self.order.pk)).order_by("aggregate_version")
        return [event.type for event in events]


class CancelTests(LifeTests):
    def test_gives_all_units_back_once(self):
        answer = cancel_order(a_change(self.order, key="k"), cuts=None, reason="too late")
        again = cancel_order(a_change(self.order, key="k"), cuts=None, reason="too late")

        self.assertEqual(again.body, answer.body)
        self.assertTrue(again.is_replayed)
        told = json.loads(answer.body)
        self.assertEqual((told["status"], told["due_minor"], told["version"]), ("cancelled", 0, 2))
        self.assertEqual(answer.etag, '"2"')
        self.assertEqual((self.stock("CUP"), self.stock("POT")), ((10, 0, 0), (5, 0, 0)))
        event = Event.objects.get(type="order.cancelled")
        self.assertEqual(event.data["reason"], "too late")
        self.assertEqual(event.data["actor"], "tester")
        self.assertEqual(event.data["lines"][0], {"position": 0, "sku": "CUP", "quantity": 3})

    def test_gives_some_units_back(self):
        cancel_order(a_change(self.order), cuts=[Cut(0, 2)], reason="")

        self.order.refresh_from_db()
        self.assertEqual(self.order.status, "placed")
        self.assertEqual(self.order.state.due_minor, 1350)
        self.assertEqual(self.stock("CUP"), (10, 1, 0))
        self.assertEqual(self.stock("POT"), (5, 1, 0))

    def test_refuses_more_than_is_open(self):
        refusal = self.refused(
            OrderStateConflict,
            lambda: cancel_order(a_change(self.order), cuts=[Cut(1, 1), Cut(0, 4)], reason=""),
            moved=1,
        )

        self.assertEqual(refusal.errors[0]["possible"], 3)

    def test_refuses_a_cancelled_order_and_keeps_the_refusal(self):
        cancel_order(a_change(self.order), cuts=None, reason="")

        for told in (OrderStateConflict, StoredRefusal):
            self.refused(
                told,
                lambda: cancel_order(a_change(self.order, key="twice"), cuts=None, reason=""),
                moved=told is OrderStateConflict,
            )

    def test_refuses_a_stale_version(self):
        cancel_order(a_change(self.order), cuts=[Cut(0, 1)], reason="")

        refusal = self.refused(
            OrderChanged,
            lambda: cancel_order(
                a_change(self.order, versions=frozenset({1})), cuts=None, reason=""
            ),
            moved=1,
        )

        self.assertEqual(refusal.version, 2)

    def test_refuses_a_line_that_is_not_there_and_leaves_the_key_unused(self):
        self.refused(
            ValidationFailed,
            lambda: cancel_order(a_change(self.order), cuts=[Cut(9, 1)], reason=""),
        )

    def test_refuses_the_order_of_another_account(self):
        self.order.account_id = given_account("stranger").pk

        self.refused(
            OrderNotFound, lambda: cancel_order(a_change(self.order), cuts=None, reason="")
        )


class FulfillTests(LifeTests):
    def test_sends_part_and_then_the_rest(self):
        fulfill_order(a_change(self.order), picks=[Pick(0, 2)], reference="parcel-1")
        self.order.refresh_from_db()
        self.assertEqual(
            (self.order.status, self.order.fulfillment_status), ("confirmed", "partial")
        )
        self.assertEqual(self.stock("CUP"), (8, 1, 0))

        fulfill_order(a_change(self.order), picks=None)

        self.order.refresh_from_db()
        self.assertEqual(self.order.fulfillment_status, "fulfilled")
        self.assertEqual((self.stock("CUP"), self.stock("POT")), ((7, 0, 0), (4, 0, 0)))
        first, second = Event.objects.filter(type="order.fulfilled").order_by("aggregate_version")
        self.assertEqual(first.data["parcel"], "parcel-1")
        self.assertEqual(
            first.data["stock"], [{"sku": "CUP", "location": "main", "quantity": 2, "fate": "ship"}]
        )
        self.assertEqual(len(second.data["lines"]), 3)

    def test_closes_a_paid_order(self):
        record_payment(a_change(self.order), payment=a_payment("captured", 1850))

        fulfill_order(a_change(self.order), picks=None)

        self.order.refresh_from_db()
        self.assertEqual(self.order.status, "closed")
        self.assertEqual(self.timeline(), ["order.placed", "order.paid", "order.fulfilled"])

    def test_units_that_nobody_found_wait_in_quarantine(self):
        fulfill_order(a_change(self.order), picks=[Pick(0, 2, short=1)])

        self.order.refresh_from_db()
        self.assertEqual(self.order.attention, "short")
        self.assertEqual(self.stock("CUP"), (8, 0, 1))
        self.assertEqual(level_of("CUP").available, 7)

    def test_refuses_what_is_not_there_any_more(self):
        adjust_stock(
            request=a_request(), sku="CUP", delta=-9, reason="loss", provenance=TESTER, now=NOON
        )

        refusal = self.refused(
            NotOnHand, lambda: fulfill_order(a_change(self.order), picks=None), moved=1
        )

        self.assertEqual((refusal.sku, refusal.on_hand), ("CUP", 1))

    def test_refuses_another_location(self):
        self.refused(
            NotAllocated,
            lambda: fulfill_order(a_change(self.order), picks=[Pick(0, 1, location="east")]),
            moved=1,
        )

    def test_refuses_a_cancelled_order(self):
        cancel_order(a_change(self.order), cuts=None, reason="")

        self.refused(
            OrderStateConflict, lambda: fulfill_order(a_change(self.order), picks=None), moved=1
        )


class ReturnTests(LifeTests):
    def setUp(self):
        super().setUp()
        fulfill_order(a_change(self.order), picks=None)

    def test_puts_units_where_they_belong(self):
        comebacks = [
            Comeback(0, 1, "restock", "main"),
            Comeback(0, 1, "quarantine", "main"),
            Comeback(0, 1, "scrap", "main"),
        ]

        return_units(a_change(self.order), comebacks=comebacks, reason="broken")

        self.assertEqual(self.stock("CUP"), (9, 0, 1))
        self.assertEqual(Movement.objects.filter(kind="return").count(), 3)
        self.assertEqual(UnitChange.objects.filter(kind="returned").count(), 3)

    def test_refuses_more_than_was_sent(self):
        self.refused(
            OrderStateConflict,
            lambda: return_units(
                a_change(self.order), comebacks=[Comeback(1, 2, "restock", "main")], reason=""
            ),
            moved=1,
        )

    def test_refuses_what_was_never_sent(self):
        self.order = self.given_order({"CUP": 1})

        self.refused(
            OrderStateConflict,
            lambda: return_units(
                a_change(self.order), comebacks=[Comeback(0, 1, "restock", "main")], reason=""
            ),
            moved=1,
        )


class PayTests(LifeTests):
    def test_confirms_an_order(self):
        record_payment(a_change(self.order), payment=a_payment("authorized", 1850))
        record_payment(a_change(self.order), payment=a_payment("captured", 1850))

        self.order.refresh_from_db()
        self.assertEqual((self.order.status, self.order.payment_status), ("confirmed", "paid"))
        self.assertEqual(
            self.timeline(), ["order.placed", "order.payment_authorized", "order.paid"]
        )

    def test_an_event_of_a_provider_counts_once_whatever_its_key(self):
        payment = a_payment("captured", 1000, event="evt")
        record_payment(a_change(self.order), payment=payment)
        before = what_moved()

        again = record_payment(a_change(self.order), payment=payment)

        self.assertEqual((again.status, again.is_replayed), (201, True))
        self.assertEqual(json.loads(again.body)["captured_minor"], 1000)
        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})

    def test_refuses_an_event_that_said_something_else(self):
        record_payment(a_change(self.order), payment=a_payment("captured", 1000, event="evt"))
        other = self.given_order({"CUP": 1})

        for order, amount in ((self.order, 999), (other, 1000)):
            self.refused(
                PaymentEventReused,
                lambda order=order, amount=amount: record_payment(
                    a_change(order), payment=a_payment("captured", amount, event="evt")
                ),
                moved=1,
            )

    def test_refuses_another_currency(self):
        self.refused(
            ValidationFailed,
            lambda: record_payment(
                a_change(self.order), payment=a_payment("captured", 1850, currency="GBP")
            ),
        )

    def test_refuses_a_key_that_was_used_for_something_else(self):
        record_payment(a_change(self.order, key="k"), payment=a_payment("captured", 1))
        asked = a_change(self.order)
        asked = type(asked)(
            asked.order_id,
            asked.account_id,
            a_request("k", account_id=self.account.pk, body=b"other"),
            TESTER,
            NOON,
        )

        self.refused(
            IdempotencyKeyReused,
            lambda: record_payment(asked, payment=a_payment("captured", 1)),
        )


class NoteTests(LifeTests):
    def test_settles_what_asked_for_attention(self):
        fulfill_order(a_change(self.order), picks=[Pick(0, 2, short=1)])
        add_note(a_change(self.order), text="A look at the shelf.")
        self.order.refresh_from_db()
        self.assertEqual(self.order.attention, "short")

        add_note(a_change(self.order), text="Counted.", resolves_attention=True)

        self.order.refresh_from_db()
        self.assertEqual((self.order.attention, self.order.version), ("", 4))
        self.assertEqual(
            list(Note.objects.order_by("id").values_list("author", "text")),
            [("tester", "A look at the shelf."), ("tester", "Counted.")],
        )
        self.assertNotIn(
            "Counted", str(Event.objects.filter(type="order.noted").values_list("data"))
        )


class ExpiryTests(LifeTests):
    def setUp(self):
        super().setUp()
        self.order = self.given_order({"CUP": 4, "WRAP": 1}, pay_within_s=600)

    def pass_the_deadline(self):
        past = timezone.now() - timedelta(hours=1)
        Order.objects.filter(pay_before__isnull=False).update(pay_before=past)

    def expire(self):
        return expire_orders(provenance=TESTER, now=NOON, limit=10)

    def test_an_order_has_its_deadline_by_the_clock_of_the_database(self):
        left = self.order.pay_before - timezone.now()

        self.assertTrue(timedelta(seconds=590) < left <= timedelta(seconds=600))

    def test_nothing_expires_before_its_time(self):
        self.assertEqual(self.expire(), 0)
        self.assertEqual(self.stock("CUP"), (10, 7, 0))

    def test_gives_the_units_of_an_unpaid_order_back(self):
        record_payment(a_change(self.order), payment=a_payment("failed", 1100))
        self.pass_the_deadline()

        self.assertEqual(self.expire(), 1)

        self.order.refresh_from_db()
        self.assertEqual((self.order.status, self.order.version), ("expired", 3))
        self.assertEqual(self.stock("CUP"), (10, 3, 0))
        self.assertEqual(self.timeline()[-1], "order.expired")
        self.assertEqual(self.expire(), 0)

    def test_leaves_what_has_money_or_was_sent_or_cancelled(self):
        orders = [self.given_order({"CUP": 1}, pay_within_s=600) for _ in range(3)]
        record_payment(a_change(self.order), payment=a_payment("captured", 1))
        record_payment(a_change(orders[0]), payment=a_payment("authorized", 250))
        fulfill_order(a_change(orders[1]), picks=None)
        cancel_order(a_change(orders[2]), cuts=None, reason="")
        self.pass_the_deadline()
        before = what_moved()

        self.assertEqual(self.expire(), 0)

        self.assertEqual(what_moved(), before)

    def test_a_late_payment_takes_the_units_again(self):
        self.pass_the_deadline()
        self.expire()

        record_payment(a_change(self.order), payment=a_payment("captured", 1100))

        self.order.refresh_from_db()
        self.assertEqual((self.order.status, self.order.attention), ("confirmed", ""))
        self.assertEqual(self.stock("CUP"), (10, 7, 0))
        self.assertTrue(Event.objects.get(type="order.paid").data["is_reinstated"])
        fulfill_order(a_change(self.order), picks=None)
        self.order.refresh_from_db()
        self.assertEqual(self.order.status, "closed")

    def test_a_late_payment_asks_for_attention_when_the_units_are_gone(self):
        self.pass_the_deadline()
        self.expire()
        self.given_order({"CUP": 4})

        record_payment(a_change(self.order), payment=a_payment("captured", 1100))

        self.order.refresh_from_db()
        self.assertEqual((self.order.status, self.order.attention), ("expired", "late_payment"))
        self.assertEqual(self.order.payment_status, "paid")
        self.assertEqual(self.stock("CUP"), (10, 7, 0))

    def test_a_late_payment_that_was_given_back_takes_no_units(self):
        self.pass_the_deadline()
        self.expire()
        other = self.given_order({"CUP": 4})
        record_payment(a_change(self.order), payment=a_payment("captured", 1100))
        cancel_order(a_change(other), cuts=None, reason="")

        record_payment(a_change(self.order), payment=a_payment("refunded", 1100))
        record_payment(a_change(self.order), payment=a_payment("captured", 1))

        self.order.refresh_from_db()
        self.assertEqual((self.order.status, self.order.version), ("expired", 5))
        self.assertEqual(self.stock("CUP"), (10, 3, 0))

    def test_a_late_part_of_the_money_asks_for_attention(self):
        self.pass_the_deadline()
        self.expire()

        record_payment(a_change(self.order), payment=a_payment("captured", 1099))

        self.order.refresh_from_db()
        self.assertEqual((self.order.status, self.order.attention), ("expired", "late_payment"))

    def test_the_rest_of_a_late_payment_settles_it(self):
        self.pass_the_deadline()
        self.expire()
        record_payment(a_change(self.order), payment=a_payment("captured", 1099))

        record_payment(a_change(self.order), payment=a_payment("captured", 1))

        self.order.refresh_from_db()
        self.assertEqual((self.order.status, self.order.attention), ("confirmed", ""))

    def test_an_order_that_costs_nothing_never_expires(self):
        given_stock("GIFT", on_hand=1, price_minor=0)

        order = self.given_order({"GIFT": 1}, pay_within_s=600)

        self.assertIsNone(order.pay_before)
        self.pass_the_deadline()
        self.assertEqual(self.expire(), 1)
        order.refresh_from_db()
        self.assertEqual(order.status, "placed")

    def test_the_command_expires_all_that_are_due(self):
        self.given_order({"CUP": 1}, pay_within_s=600)
        self.pass_the_deadline()
        told = StringIO()

        call_command("expire_orders", stdout=told)

        self.assertEqual(told.getvalue(), "2 orders expired\n")
        self.assertEqual(Order.objects.filter(status="expired").count(), 2)


class MissingTests(LifeTests):
    def test_refuses_an_order_that_never_was(self):
        self.order.pk = uuid4()

        self.refused(
            OrderNotFound,
            lambda: record_payment(a_change(self.order), payment=a_payment("captured", 1)),
        )

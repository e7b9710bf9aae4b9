"""The data of a person: told, and erased."""

import json

from django.apps import apps

from events.feed import read_feed
from events.models import Delivery, Event, Lane
from events.rules import Audience
from orders.documents import stored_document
from orders.models import Erasure, Note, Order
from orders.reading import read_from_cache
from orders.usecases import (
    CustomerHasOpenOrders,
    CustomerNotFound,
    add_note,
    cancel_order,
    erase_customer,
    export_customer,
    fulfill_order,
    record_payment,
)
from tests.builders import (
    NOON,
    TESTER,
    a_change,
    a_payment,
    discrepancies,
    given_account,
    given_stock,
    level_of,
    place,
    placed_order,
    what_moved,
)
from tests.committed import CommittedTestCase

ADDRESS = {"name": "Anna Ohm", "lines": ["Kirchgasse 1"], "city": "Wien", "country": "AT"}
PERSON = {"customer": "c-anna", "ship_to": ADDRESS, "metadata": {"phone": "0660/55517"}}


def everything() -> str:
    """Return all that the database has, as text."""
    return "\n".join(
        str(row) for model in apps.get_models() for row in model._base_manager.values()
    ).lower()


class PersonalDataTests(CommittedTestCase):
    def setUp(self):
        given_stock("CUP", on_hand=20, price_minor=100)
        self.shop = given_account("shop")
        self.sent = placed_order(place({"CUP": 3}, account=self.shop, key="sent", **PERSON))
        self.cancelled = placed_order(place({"CUP": 2}, account=self.shop, **PERSON))
        record_payment(a_change(self.sent), payment=a_payment("captured", 300))
        fulfill_order(a_change(self.sent), picks=None, reference="parcel-for-Anna")
        cancel_order(a_change(self.cancelled), cuts=None, reason="Anna changed her mind")
        add_note(a_change(self.sent), text="Anna called")

    def erase(self, customer="c-anna", **more):
        return erase_customer(
            customer,
            account_id=self.shop.pk,
            reason="asked for it",
            provenance=TESTER,
            now=NOON,
            **more,
        )

    def test_are_nowhere_after_they_were_erased(self):
        self.assertIn("anna", everything())

        self.erase()

        for word in ("anna", "kirchgasse", "wien", "0660/55517"):
            self.assertNotIn(word, everything())

    def test_leave_orders_money_stock_and_ledger_whole(self):
        def books():
            orders = Order.objects.order_by("number")
            return [
                (order.number, order.status, order.payment_status, order.total_minor)
                for order in orders
            ], [getattr(level_of("CUP"), name) for name in ("on_hand", "allocated", "version")]

        before = books()

        self.erase()

        self.assertEqual(books(), before)
        self.assertEqual(discrepancies(), [])

    def test_become_one_name_and_each_order_tells_so(self):
        erasure = self.erase()

        self.assertRegex(erasure.customer, r"^erased-[0-9a-f]{32}$")
        self.assertEqual(set(Order.objects.values_list("customer", flat=True)), {erasure.customer})
        sent = Order.objects.get(pk=self.sent.pk)
        self.assertEqual((sent.ship_to, sent.metadata, sent.version), (None, None, 5))
        self.assertEqual(Note.objects.get().text, "erased")
        told = Event.objects.filter(aggregate_id=str(sent.pk)).order_by("-aggregate_version")[0]
        self.assertEqual((told.type, told.aggregate_version), ("order.erased", 5))
        self.assertEqual(told.data["actor"], "tester")
        cancelled = Event.objects.get(type="order.cancelled")
        self.assertEqual(cancelled.data["reason"], "erased")
        self.assertEqual(cancelled.data["lines"], [{"position": 0, "sku": "CUP", "quantity": 2}])

    def test_leave_a_record_of_who_erased_how_much_and_why(self):
        self.erase()

        kept = Erasure.objects.get()
        self.assertEqual((kept.orders, kept.notes, kept.events, kept.answers), (2, 1, 2, 6))
        self.assertEqual(
            (kept.actor, kept.reason, kept.erased_at), ("tester", "asked for it", NOON)
        )

    def test_are_not_in_the_answer_of_a_repeated_request_which_places_nothing(self):
        erasure = self.erase()
        before = what_moved()

        answer = place({"CUP": 3}, account=self.shop, key="sent", **PERSON)

        self.assertTrue(answer.is_replayed)
        told = json.loads(answer.body)
        self.assertEqual((told["id"], told["version"]), (str(self.sent.pk), 1))
        self.assertEqual(told["customer"], erasure.customer)
        self.assertIsNone(told["ship_to"])
        self.assertEqual(list(told), list(stored_document(self.sent)))
        self.assertEqual(what_moved(), before)

    def test_are_not_read_from_the_cache(self):
        erasure = self.erase()

        text = read_from_cache(self.sent.pk, account_id=self.shop.pk, is_fresh=False)

        self.assertEqual(json.loads(text.body)["customer"], erasure.customer)
        self.assertEqual(text.etag, '"5"')

    def test_are_not_sent_any_more_and_not_kept_as_what_a_receiver_answered(self):
        event = Event.objects.get(type="order.cancelled")
        Delivery.objects.create(
            lane=Lane.objects.create(), event_id=event.pk, position=event.position, aggregate=1,
            due_at=NOON, created_at=NOON, answer="no such customer: Anna",
        )  # fmt: skip

        self.erase()

        page = read_feed(audience=Audience(self.shop.pk), limit=100)
        self.assertNotIn(b"Anna", b"".join(page.envelopes))
        self.assertEqual(Delivery.objects.get().answer, "")

    def test_of_others_stay(self):
        market = given_account("market")
        theirs = placed_order(place(account=market, **PERSON))
        another = placed_order(place(account=self.shop, **(PERSON | {"customer": "c-annabel"})))

        self.erase()

        for order in (theirs, another):
            now = Order.objects.get(pk=order.pk)
            self.assertEqual((now.customer, now.ship_to), (order.customer, ADDRESS))

    def test_stay_while_an_order_is_open_unless_it_is_said(self):
        waits = placed_order(place(account=self.shop, **PERSON))
        before, had = what_moved(), everything()

        with self.assertRaises(CustomerHasOpenOrders) as caught:
            self.erase()

        self.assertEqual(caught.exception.numbers, [waits.number])
        self.assertEqual((what_moved(), everything()), (before, had))
        self.assertEqual(self.erase(includes_open=True).orders, 3)

    def test_of_nobody_are_refused(self):
        before = what_moved()

        with self.assertRaises(CustomerNotFound):
            self.erase("c-nobody")
        with self.assertRaises(CustomerNotFound):
            export_customer("c-nobody", account_id=self.shop.pk)

        self.assertEqual(what_moved(), before)
        self.assertFalse(Erasure.objects.exists())

    def test_are_told_whole(self):
        cancelled, sent = export_customer("c-anna", account_id=self.shop.pk)

        self.assertEqual((sent["id"], sent["ship_to"]), (str(self.sent.pk), ADDRESS))
        self.assertEqual(sent["metadata"], {"phone": "0660/55517"})
        self.assertEqual([note["text"] for note in sent["notes"]], ["Anna called"])
        self.assertEqual([said["amount_minor"] for said in sent["payments"]], [300])
        self.assertEqual(
            [event["type"] for event in sent["events"]],
            ["order.placed", "order.paid", "order.fulfilled", "order.noted"],
        )
        self.assertEqual(cancelled["events"][-1]["data"]["reason"], "Anna changed her mind")

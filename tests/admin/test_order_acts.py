"""What is done to orders in the back office: by whom, once, and not behind anybody's back."""

from uuid import uuid4

from django.contrib.admin.models import LogEntry
from django.test import TestCase
from django.urls import reverse

from events.models import Event
from orders.models import Line, Note
from orders.usecases import cancel_order, record_payment
from rollout.codepath import override
from tests.admin.forms import first_values
from tests.admin.people import given_person
from tests.builders import (
    a_change,
    a_payment,
    given_account,
    given_stock,
    level_of,
    place,
    placed_order,
    what_moved,
)

ACTS = ("fulfil", "cancel-units", "take-back", "add-a-note")
MAY = {
    "viewer": (),
    "stock keeper": ("fulfil", "take-back", "add-a-note"),
    "order desk": ACTS,
    "operator": ACTS,
}


def page_of(name, order):
    return reverse(f"admin:orders_order_{name}", args=[order.pk])


class OrderActTestCase(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        self.shop = given_account()
        given_stock("CUP", on_hand=20)
        given_stock("TEAPOT", on_hand=20)
        self.order = placed_order(place({"CUP": 5, "TEAPOT": 2}, account=self.shop))
        self.client.force_login(given_person("order desk"))

    def open_form(self, act):
        answer = self.client.get(page_of(act, self.order))
        self.assertEqual(answer.status_code, 200)
        return first_values(answer.content.decode())

    def send(self, act, **form):
        return self.client.post(page_of(act, self.order), form, follow=True)

    def do(self, act, **typed):
        return self.send(act, **(self.open_form(act) | typed))

    def units(self):
        return [
            (line.cancelled_quantity, line.fulfilled_quantity, line.returned_quantity)
            for line in Line.objects.filter(order=self.order).order_by("position")
        ]

    def stock(self, sku):
        level = level_of(sku)
        return level.on_hand, level.allocated, level.unavailable

    def log(self):
        return list(LogEntry.objects.order_by("pk").values_list("change_message", flat=True))


class OrderActTests(OrderActTestCase):
    def test_sends_all_that_is_open_as_the_form_proposes(self):
        answer = self.do("fulfil", reference="P-1")

        self.assertRedirects(answer, page_of("change", self.order))
        self.assertContains(answer, f"{self.order}: 7 units sent.")
        self.assertEqual(self.units(), [(0, 5, 0), (0, 2, 0)])
        self.assertEqual((self.stock("CUP"), self.stock("TEAPOT")), ((15, 0, 0), (18, 0, 0)))
        event = Event.objects.get(type="order.fulfilled")
        self.assertEqual((event.data["actor"], event.data["parcel"]), ("order-desk", "P-1"))
        self.assertEqual(self.log(), [f"{self.order}: 7 units sent."])

    def test_sends_a_part_and_says_what_nobody_found(self):
        answer = self.do("fulfil", units_0="3", short_0="1", units_1="0", location="main")

        self.assertContains(answer, "3 units sent, 1 not found.")
        self.assertEqual(self.units(), [(1, 3, 0), (0, 0, 0)])
        self.assertEqual(self.stock("CUP"), (17, 1, 1))
        self.order.refresh_from_db()
        self.assertEqual(
            (self.order.fulfillment_status, self.order.attention), ("partial", "short")
        )

    def test_cancels_units_and_all_of_them(self):
        answer = self.do("cancel-units", units_0="2", units_1="0", reason="Changed her mind")

        self.assertContains(answer, "2 units cancelled (Changed her mind).")
        self.assertEqual(self.units(), [(2, 0, 0), (0, 0, 0)])
        self.assertEqual(self.stock("CUP"), (20, 3, 0))

        self.do("cancel-units", reason="The rest too")

        self.order.refresh_from_db()
        self.assertEqual(self.order.status, "cancelled")
        self.assertEqual(self.units(), [(5, 0, 0), (2, 0, 0)])
        self.assertEqual((self.stock("CUP"), self.stock("TEAPOT")), ((20, 0, 0), (20, 0, 0)))

    def test_takes_units_back_to_what_becomes_of_them(self):
        self.do("fulfil")

        answer = self.do(
            "take-back",
            units_0="2",
            fate_0="restock",
            units_1="1",
            fate_1="quarantine",
            location="main",
            reason="Too small",
        )

        self.assertContains(answer, "3 units taken back (Too small).")
        self.assertEqual(self.units(), [(0, 5, 2), (0, 2, 1)])
        self.assertEqual((self.stock("CUP"), self.stock("TEAPOT")), ((17, 0, 0), (19, 0, 1)))

    def test_notes_and_settles_what_asked_for_attention(self):
        self.do("fulfil", units_0="4", short_0="1")

        answer = self.do("add-a-note", text="Told her <b>so</b>", resolves_attention="on")

        self.assertContains(answer, "noted, and settled.")
        self.assertContains(answer, "Told her &lt;b&gt;so&lt;/b&gt;")
        note = Note.objects.get()
        self.assertEqual((note.author, note.text), ("order-desk", "Told her <b>so</b>"))
        self.order.refresh_from_db()
        self.assertEqual(self.order.attention, "")

    def test_a_form_sent_twice_is_done_once(self):
        for act, typed in (
            ("fulfil", {"units_0": "4", "units_1": "0"}),
            ("take-back", {"units_0": "1", "fate_0": "scrap", "reason": "x", "location": "main"}),
            ("cancel-units", {"reason": "x"}),
            ("add-a-note", {"text": "x"}),
        ):
            with self.subTest(act):
                form = self.open_form(act) | typed
                self.send(act, **form)
                before, log = what_moved(), self.log()

                again = self.send(act, **form)

                self.assertContains(again, "This was done already.")
                self.assertEqual(what_moved(), before)
                self.assertEqual(self.log(), log)

    def test_refuses_a_form_about_an_order_that_changed_meanwhile(self):
        form = self.open_form("fulfil")
        cancel_order(a_change(self.order), cuts=None, reason="by the shop")
        before = what_moved()

        answer = self.send("fulfil", **form)

        self.assertContains(answer, "Nothing was done: The order is at version 2.")
        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})

        self.assertEqual(self.log(), [])

    def test_refuses_a_form_that_makes_no_sense(self):
        form = self.open_form("cancel-units")
        before = what_moved()

        for wrong in (
            {"units_0": "6"},
            {"units_0": "-1"},
            {"units_0": "0", "units_1": "0"},
            {"reason": ""},
            {"key": "again"},
            {"version": ""},
        ):
            with self.subTest(wrong):
                answer = self.send("cancel-units", **(form | {"reason": "x"} | wrong))
                self.assertContains(answer, "errornote")

        self.assertEqual(what_moved(), before)

    def test_offers_what_the_order_can_have_done(self):
        def offered():
            return [verb for verb, _ in self.client.get(page).context["ways"]]

        page = page_of("change", self.order)
        self.assertEqual(offered(), ["Fulfil", "Cancel units", "Add a note"])

        self.do("fulfil", units_1="0")
        self.assertEqual(offered(), ["Fulfil", "Cancel units", "Take back", "Add a note"])

        self.do("cancel-units", reason="Sold out")
        self.assertEqual(offered(), ["Take back", "Add a note"])

    def test_only_who_may_is_offered_and_obeyed(self):
        self.do("fulfil", units_0="2", units_1="0")
        before = what_moved()

        for role, may in MAY.items():
            self.client.force_login(given_person(role))
            ways = self.client.get(page_of("change", self.order)).context["ways"]
            self.assertEqual([page for _, page in ways], [page_of(x, self.order) for x in may])
            for act in ACTS:
                with self.subTest(role=role, act=act):
                    status = 200 if act in may else 403
                    self.assertEqual(self.client.get(page_of(act, self.order)).status_code, status)
                    if act not in may:
                        said = {"key": str(uuid4()), "version": "2", "text": "x", "reason": "x"}
                        answer = self.send(act, units_0="1", **said)
                        self.assertEqual(answer.status_code, 403)

        self.assertEqual(what_moved(), before)

    def test_an_order_that_is_not_there_is_not_found(self):
        for act in ACTS:
            for order in ("0199a000-0000-7000-8000-000000000000", "x"):
                page = reverse(f"admin:orders_order_{act}", args=[order])
                self.assertEqual(self.client.get(page).status_code, 404)

    def test_the_page_tells_of_money_and_of_where_units_are(self):
        record_payment(a_change(self.order), payment=a_payment("captured", 1750, event="evt-7"))

        answer = self.client.get(page_of("change", self.order))

        for told in ("evt-7", "17.50 EUR", "order.paid"):
            self.assertContains(answer, told)
        tables = {table.id: table for table in answer.context["tables"]}
        self.assertEqual(
            tables["allocations"].rows,
            [["CUP", "main", 5, 0, 0, 0], ["TEAPOT", "main", 2, 0, 0, 0]],
        )


class OrderFilterTests(OrderActTestCase):
    def found(self, query):
        answer = self.client.get(reverse("admin:orders_order_changelist") + query)
        self.assertEqual(answer.status_code, 200)
        return [order.pk for order in answer.context["cl"].result_list]

    def test_narrows_by_payment_fulfillment_and_attention(self):
        other = placed_order(place({"CUP": 1}, account=self.shop))
        record_payment(a_change(other), payment=a_payment("captured", 900))
        self.do("fulfil", units_0="4", short_0="1", units_1="0")
        here, there = [self.order.pk], [other.pk]

        for query, found in (
            ("?payment_status__exact=paid", there),
            ("?payment_status__exact=unpaid", here),
            ("?fulfillment_status__exact=partial", here),
            ("?fulfillment_status__exact=unfulfilled", there),
            ("?attention=any", [*there, *here]),
            ("?attention=short", here),
            ("?attention=overpaid", there),
            ("?attention=short&payment_status__exact=paid", []),
        ):
            with self.subTest(query):
                self.assertEqual(self.found(query), found)

"""The back office of stock: what people may move, and that it moves once."""

import re
from uuid import uuid4

import psycopg
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, TestCase
from django.urls import reverse

from events.rules import lock_number
from inventory.models import Movement, Sku
from rollout.codepath import override
from tests.admin.people import given_person
from tests.builders import given_account, given_sku, given_stock, level_of, place, what_moved

SKUS = reverse("admin:inventory_sku_changelist")
ADD_SKU = reverse("admin:inventory_sku_add")
LEVELS = reverse("admin:inventory_stocklevel_changelist")
LEDGER = reverse("admin:inventory_movement_changelist")
VERBS = ("receive", "adjust", "count")


def page_of(name, level):
    return reverse(f"admin:inventory_stocklevel_{name}", args=[level.pk])


def sku_page(sku):
    return reverse("admin:inventory_sku_change", args=[sku.pk])


class StockTestCase(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        given_stock("CUP", on_hand=10)
        self.level = level_of("CUP")
        self.client.force_login(given_person("stock keeper"))

    def open_form(self, verb):
        """Return what the form of a movement holds before anything is typed."""
        html = self.client.get(page_of(verb, self.level)).content.decode()
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', html)
        return {name: value for name, value in hidden if name != "csrfmiddlewaretoken"}

    def send(self, verb, **form):
        return self.client.post(page_of(verb, self.level), form, follow=True)

    def log(self):
        return list(LogEntry.objects.order_by("pk").values_list("object_repr", "change_message"))


class MoveStockTests(StockTestCase):
    def test_receives_units(self):
        form = self.open_form("receive")

        answer = self.send("receive", **form, quantity="5", reference="DN 7")

        self.assertRedirects(answer, page_of("change", self.level))
        self.assertContains(answer, "CUP at main: Receive: +5 to 15 (DN 7)")
        self.assertEqual(level_of("CUP").on_hand, 15)
        moved = Movement.objects.latest("pk")
        self.assertEqual(
            (moved.kind, moved.on_hand_change, moved.reference), ("receive", 5, "DN 7")
        )
        self.assertEqual((moved.actor, moved.source), ("stock-keeper", "admin"))
        self.assertEqual(self.log(), [("CUP at main", "CUP at main: Receive: +5 to 15 (DN 7)")])

    def test_adjusts_by_a_difference(self):
        form = self.open_form("adjust")

        self.send("adjust", **form, delta="-3", reason="damage")

        self.assertEqual(level_of("CUP").on_hand, 7)
        moved = Movement.objects.latest("pk")
        self.assertEqual((moved.kind, moved.on_hand_change, moved.reason), ("adjust", -3, "damage"))
        self.assertEqual(self.log(), [("CUP at main", "CUP at main: Adjust: -3 to 7 (damage)")])

    def test_sets_to_what_was_counted(self):
        form = self.open_form("count")
        self.assertEqual(form["expected_on_hand"], "10")

        self.send("count", **form, on_hand="12", reason="count")

        self.assertEqual(level_of("CUP").on_hand, 12)
        moved = Movement.objects.latest("pk")
        self.assertEqual((moved.kind, moved.on_hand_change, moved.reason), ("adjust", 2, "count"))

    def test_a_form_sent_twice_moves_once(self):
        for verb, said, on_hand in (
            ("receive", {"quantity": "5", "reference": "DN 7"}, 15),
            ("adjust", {"delta": "-3", "reason": "loss"}, 12),
            ("count", {"on_hand": "20", "reason": "count"}, 20),
        ):
            with self.subTest(verb):
                form = self.open_form(verb) | said
                self.send(verb, **form)
                before, log = what_moved(), self.log()

                again = self.send(verb, **form)

                self.assertContains(again, "This was done already.")
                self.assertEqual(what_moved(), before)
                self.assertEqual(self.log(), log)
                self.assertEqual(level_of("CUP").on_hand, on_hand)

    def test_two_forms_move_twice(self):
        for _ in range(2):
            self.send("receive", **self.open_form("receive"), quantity="5", reference="DN 7")

        self.assertEqual(level_of("CUP").on_hand, 20)

    def test_refuses_a_form_sent_again_with_other_values(self):
        form = self.open_form("receive")
        self.send("receive", **form, quantity="5", reference="DN 7")
        before = what_moved()

        answer = self.send("receive", **form, quantity="6", reference="DN 7")

        self.assertContains(answer, "Nothing was done: this form was sent before")
        self.assertEqual(what_moved(), before)

    def test_a_form_that_found_no_time_can_be_sent_again(self):
        form = self.open_form("receive") | {"quantity": "5", "reference": "DN 7"}
        keeper = User.objects.get(username="stock-keeper")
        before = what_moved()
        with psycopg.connect(**connection.get_connection_params()) as first_click:
            lock = lock_number(keeper.pk, form["key"])
            first_click.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))

            answer = self.send("receive", **form)

            self.assertContains(answer, "Send this form again: it is done once.")
            self.assertContains(answer, f'value="{form["key"]}"')
            self.assertEqual(what_moved(), before)

        self.send("receive", **form)
        self.assertEqual(level_of("CUP").on_hand, 15)

    def test_refuses_a_count_against_a_number_that_moved(self):
        form = self.open_form("count")
        self.send("receive", **self.open_form("receive"), quantity="1", reference="DN 8")
        before, log = what_moved(), self.log()

        answer = self.send("count", **form, on_hand="12", reason="count")

        self.assertContains(answer, "Nothing was done: CUP: 11 on hand")
        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})
        self.assertEqual(self.log(), log)

    def test_refuses_to_take_more_than_there_is(self):
        before = what_moved()

        answer = self.send("adjust", **self.open_form("adjust"), delta="-11", reason="loss")

        self.assertContains(answer, "Nothing was done: CUP: 10 on hand, 11 cannot be taken.")
        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})
        self.assertEqual(self.log(), [])

    def test_refuses_a_form_that_makes_no_sense(self):
        before = what_moved()
        key = str(uuid4())
        for verb, said in (
            ("receive", {"key": key, "quantity": "0", "reference": "x"}),
            ("receive", {"key": key, "quantity": "1.5", "reference": "x"}),
            ("receive", {"key": key, "quantity": "1000000000001", "reference": "x"}),
            ("receive", {"key": key, "quantity": "1", "reference": ""}),
            ("receive", {"quantity": "1", "reference": "x"}),
            ("receive", {"key": "again", "quantity": "1", "reference": "x"}),
            ("adjust", {"key": key, "delta": "0", "reason": "loss"}),
            ("adjust", {"key": key, "delta": "-1", "reason": ""}),
            ("adjust", {"key": key, "delta": "-1", "reason": "whim"}),
            ("count", {"key": key, "on_hand": "-1", "expected_on_hand": "10", "reason": "count"}),
            ("count", {"key": key, "on_hand": "9", "reason": "count"}),
        ):
            with self.subTest(verb=verb, said=said):
                answer = self.send(verb, **said)
                self.assertEqual(answer.status_code, 200)
                self.assertContains(answer, "errornote")

        self.assertEqual(what_moved(), before)
        self.assertEqual(self.log(), [])

    def test_refuses_a_form_without_its_token(self):
        client = Client(enforce_csrf_checks=True)
        client.force_login(given_person("operator"))
        before = what_moved()

        form = {"key": str(uuid4()), "quantity": "5", "reference": "DN 7"}
        answer = client.post(page_of("receive", self.level), form)

        self.assertEqual(answer.status_code, 403)
        self.assertEqual(what_moved(), before)

    def test_a_level_that_is_not_there_is_not_found(self):
        service = given_sku("REPAIR", is_tracked=False)
        for level in (service.levels.get(), type("Level", (), {"pk": 0})):
            for verb in VERBS:
                with self.subTest(level=level, verb=verb):
                    self.assertEqual(self.client.get(page_of(verb, level)).status_code, 404)


class StockPageTests(StockTestCase):
    def test_tells_why_there_are_so_many(self):
        answer = place({"CUP": 4}, account=given_account())
        self.send("adjust", **self.open_form("adjust"), delta="-1", reason="damage")

        page = self.client.get(page_of("change", self.level)).content.decode()

        ledger = page[page.index('id="ledger"') :]
        rows = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in ledger.split("<tr>")[2:]]
        self.assertEqual(len(rows), 3)
        self.assertIn("adjust on hand -1 9 4 damage stock-keeper via admin", rows[0])
        self.assertIn("allocate allocated +4 10 4 order tester via test v1", rows[1])
        self.assertIn("receive on hand +10 10 0 tester via test", rows[2])
        order = answer.body.split('"id":"')[1][:36]
        self.assertIn(reverse("admin:orders_order_change", args=[order]), ledger)

    def test_finds_by_the_beginning_of_a_code(self):
        given_stock("CUPBOARD", on_hand=1)
        given_stock("POT", on_hand=1)

        found = self.client.get(f"{LEVELS}?q=CUP").context["cl"].result_list

        self.assertEqual([level.sku.code for level in found], ["CUPBOARD", "CUP"])
        self.assertEqual(self.client.get(f"{LEVELS}?q=UP").context["cl"].result_list, [])

    def test_lists_what_wants_attention(self):
        given_stock("GONE", on_hand=0)
        given_stock("LOST", on_hand=3)
        place({"LOST": 3}, account=given_account())
        self.level = level_of("LOST")
        self.send("adjust", **self.open_form("adjust"), delta="-1", reason="loss")

        for state, codes in (("none", ["LOST", "GONE"]), ("shortfall", ["LOST"])):
            with self.subTest(state):
                found = self.client.get(f"{LEVELS}?stock={state}").context["cl"].result_list
                self.assertEqual([level.sku.code for level in found], codes)

    def test_lists_the_ledger_of_a_level_by_kind(self):
        given_stock("POT", on_hand=1)
        place({"CUP": 1}, account=given_account())
        of_level = f"{LEDGER}?level__id__exact={self.level.pk}"

        for query, kinds in (("", ["allocate", "receive"]), ("&kind=receive", ["receive"])):
            with self.subTest(query):
                found = self.client.get(of_level + query).context["cl"].result_list
                self.assertEqual([movement.kind for movement in found], kinds)

    def test_goes_on_where_a_page_ended(self):
        for n in range(101):
            given_sku(f"S-{n:03}")

        first = self.client.get(f"{SKUS}?is_active__exact=1").context["cl"]
        second = self.client.get(SKUS + first.next_page).context["cl"]

        self.assertEqual([sku.code for sku in first.result_list][::99], ["S-100", "S-001"])
        self.assertEqual([sku.code for sku in second.result_list], ["S-000", "CUP"])
        self.assertIsNone(second.next_page)
        self.assertEqual(second.first_page, "?is_active__exact=1")
        self.assertNotIn("before", second.get_query_string({"is_tracked__exact": "1"}))

    def test_a_page_that_begins_nowhere_is_sent_to_the_first(self):
        self.assertRedirects(self.client.get(f"{SKUS}?before=x"), f"{SKUS}?e=1")


class NothingIsEditedTests(StockTestCase):
    def test_counters_and_ledger_have_no_form_that_saves(self):
        self.client.force_login(given_person("operator"))
        before = what_moved()
        movement = Movement.objects.latest("pk")
        forged = {"on_hand": "999", "allocated": "0", "_save": "Save", "post": "yes", "code": "x"}

        for model, pk in (
            ("stocklevel", self.level.pk),
            ("movement", movement.pk),
        ):
            pages = [reverse(f"admin:inventory_{model}_add")]
            pages += [
                reverse(f"admin:inventory_{model}_{name}", args=[pk])
                for name in ("change", "delete")
            ]
            for page in pages:
                with self.subTest(page):
                    self.assertEqual(self.client.post(page, forged).status_code, 403)

        self.client.post(LEVELS, forged | {"action": "delete_selected", "_selected_action": "1"})
        self.assertEqual(what_moved(), before)
        self.assertEqual(self.log(), [])

    def test_a_sku_keeps_its_code_and_is_never_deleted(self):
        sku = Sku.objects.get(code="CUP")
        delete = reverse("admin:inventory_sku_delete", args=[sku.pk])
        form = {"code": "MUG", "name": "Mug", "price_minor": "300", "currency": "EUR"}

        self.client.post(sku_page(sku), form | {"is_active": "on", "sell_policy": "deny"})
        self.assertEqual(self.client.post(delete, {"post": "yes"}).status_code, 403)

        changed = Sku.objects.get()
        self.assertEqual((changed.code, changed.name, changed.price_minor), ("CUP", "Mug", 300))
        self.assertTrue(changed.is_tracked)


class SkuAdminTests(StockTestCase):
    def add(self, **changes):
        form = {"code": "POT", "name": "Pot", "price_minor": "1999", "currency": "EUR"}
        form |= {"is_active": "on", "is_tracked": "on", "sell_policy": "deny"}
        return self.client.post(ADD_SKU, form | changes, follow=True)

    def test_adds_a_sku_with_its_level(self):
        answer = self.add()

        self.assertRedirects(answer, SKUS)
        self.assertContains(answer, "19.99 EUR")
        self.assertEqual(Sku.objects.get(code="POT").name, "Pot")
        self.assertEqual(level_of("POT").on_hand, 0)
        self.assertEqual(self.log(), [("POT", '[{"added": {}}]')])

    def test_refuses_a_sku_that_makes_no_sense(self):
        for changes in (
            {"code": "CUP"},
            {"code": "a b"},
            {"code": "x\n"},
            {"code": "x" * 65},
            {"code": "availability"},
            {"name": ""},
            {"price_minor": "-1"},
            {"price_minor": "1000000001"},
            {"currency": "eur"},
            {"currency": "EURO"},
            {"currency": "EUX"},
            {"name": "Po\u0007t"},
            {"sell_policy": "maybe"},
        ):
            with self.subTest(changes):
                answer = self.add(**changes)
                self.assertEqual(answer.status_code, 200)

        self.assertEqual([sku.code for sku in Sku.objects.all()], ["CUP"])
        self.assertEqual(self.log(), [])

    def test_lets_orders_wait_for_what_is_not_there(self):
        self.add(sell_policy="backorder")
        sku = Sku.objects.get(code="CUP")

        self.client.post(sku_page(sku), self.open_page(sku) | {"sell_policy": "backorder"})

        policies = Sku.objects.order_by("code").values_list("code", "sell_policy")
        self.assertEqual(list(policies), [("CUP", "backorder"), ("POT", "backorder")])

    def open_page(self, sku):
        """Return what the page of a SKU holds before anything is changed."""
        html = self.client.get(sku_page(sku)).content.decode()
        shown = dict(re.findall(r'<input type="hidden" name="(initial-\w+)" value="([^"]*)"', html))
        form = {name.removeprefix("initial-"): value for name, value in shown.items()}
        return shown | form | {"is_active": "on"}

    def test_what_somebody_else_saved_meanwhile_stays(self):
        sku = Sku.objects.get()
        slow = self.open_page(sku)
        self.client.post(sku_page(sku), self.open_page(sku) | {"price_minor": "300"})

        self.client.post(sku_page(sku), slow | {"name": "Mug"})

        changed = Sku.objects.get()
        self.assertEqual((changed.price_minor, changed.name), (300, "Mug"))
        self.assertEqual(self.log()[-1], ("CUP", '[{"changed": {"fields": ["Name"]}}]'))

    def test_writes_only_what_was_changed(self):
        sku = Sku.objects.get()
        form = self.open_page(sku)
        del form["is_active"]  # A box that is not ticked is not sent.

        self.client.post(sku_page(sku), form)

        changed = Sku.objects.get()
        self.assertFalse(changed.is_active)
        self.assertEqual((changed.price_minor, changed.name), (250, "Cup"))
        self.assertEqual(self.log(), [("CUP", '[{"changed": {"fields": ["Active"]}}]')])


class StockRolesTests(StockTestCase):
    def test_stock_keepers_and_operators_move_stock_and_others_look_at_it(self):
        for role, may in (
            ("viewer", False),
            ("order desk", False),
            ("stock keeper", True),
            ("operator", True),
        ):
            self.client.force_login(given_person(role) if role != "stock keeper" else self.keeper())
            page = self.client.get(page_of("change", self.level))
            for verb in VERBS:
                with self.subTest(role=role, verb=verb):
                    offered = f'href="{page_of(verb, self.level)}"' in page.content.decode()
                    self.assertEqual(offered, may)
                    status = self.client.get(page_of(verb, self.level)).status_code
                    self.assertEqual(status, 200 if may else 403)
            with self.subTest(role=role, page="add SKU"):
                self.assertEqual(self.client.get(ADD_SKU).status_code, 200 if may else 403)

    def test_who_only_looks_moves_nothing(self):
        before = what_moved()
        form = {"key": str(uuid4()), "quantity": "5", "reference": "x", "delta": "1"}
        form |= {"reason": "found", "on_hand": "11", "expected_on_hand": "10"}
        for role in ("viewer", "order desk"):
            self.client.force_login(given_person(role))
            for verb in VERBS:
                with self.subTest(role=role, verb=verb):
                    answer = self.client.post(page_of(verb, self.level), form)
                    self.assertEqual(answer.status_code, 403)
            answer = self.client.post(sku_page(Sku.objects.get()), {"name": "Mug"})
            self.assertEqual(answer.status_code, 403)

        self.assertEqual(what_moved(), before)
        self.assertEqual(Sku.objects.get().name, "Cup")

    def test_a_stranger_is_sent_to_the_login(self):
        self.client.logout()

        for verb in VERBS:
            page = page_of(verb, self.level)
            with self.subTest(verb):
                self.assertRedirects(self.client.get(page), f"/admin/login/?next={page}")

    def keeper(self):
        return User.objects.get(username="stock-keeper")

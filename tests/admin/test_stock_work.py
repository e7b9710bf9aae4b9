"""Holds, transfers, stocktakes, limits and imports in the back office."""

import json
from uuid import uuid4

from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TestCase
from django.urls import reverse

from inventory.models import Hold, Location, Movement, StockImport, Stocktake, Transfer
from inventory.usecases import release_hold
from rollout.codepath import override
from tests.admin.forms import first_values
from tests.admin.people import given_person
from tests.builders import (
    NOON,
    TESTER,
    a_request,
    discrepancies,
    given_account,
    given_hold,
    given_location,
    given_stock,
    given_units,
    level_of,
    place,
    what_moved,
)


def address(model, page, *args):
    return reverse(f"admin:inventory_{model}_{page}", args=args)


class StockWorkTestCase(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        given_stock("CUP", on_hand=10)
        given_stock("TEAPOT", on_hand=4)
        given_location("north")
        self.client.force_login(given_person("operator"))

    def tearDown(self):
        self.assertEqual(discrepancies(), [])

    def open_form(self, page):
        answer = self.client.get(page)
        self.assertEqual(answer.status_code, 200)
        return first_values(answer.content.decode())

    def do(self, page, **typed):
        return self.client.post(page, self.open_form(page) | typed, follow=True)

    def refused_to(self, role, page):
        """Prove that somebody is not asked, and not obeyed either."""
        before = what_moved()
        self.client.force_login(given_person(role))
        self.assertEqual(self.client.get(page).status_code, 403)
        self.assertEqual(self.client.post(page, {"key": str(uuid4())}).status_code, 403)
        self.assertEqual(what_moved(), before)

    def log(self):
        return LogEntry.objects.count()


class HoldTests(StockWorkTestCase):
    def setUp(self):
        super().setUp()
        self.hold = given_hold({"CUP": 3}, account=given_account())
        self.page = address("hold", "release", self.hold)

    def test_releases_anybodys_hold_once(self):
        self.client.force_login(given_person("order desk"))
        form = self.open_form(self.page)

        answer = self.client.post(self.page, form, follow=True)

        self.assertContains(answer, "is released.")
        self.assertEqual(Hold.objects.get().state, "released")
        self.assertEqual(level_of("CUP").held, 0)
        self.assertEqual(Movement.objects.latest("pk").actor, "order-desk")
        before, log = what_moved(), self.log()

        again = self.client.post(self.page, form, follow=True)

        self.assertContains(again, "This was done already.")
        self.assertEqual((what_moved(), self.log()), (before, log))

    def test_refuses_a_hold_that_is_over(self):
        form = self.open_form(self.page)
        shop = given_account()
        asked = a_request(account_id=shop.pk)
        release_hold(self.hold, request=asked, provenance=TESTER, now=NOON)
        before = what_moved()

        answer = self.client.post(self.page, form, follow=True)

        self.assertContains(answer, f"Nothing was done: Hold {self.hold} is released.")
        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})

    def test_is_for_who_takes_orders(self):
        for role in ("viewer", "stock keeper"):
            with self.subTest(role):
                self.refused_to(role, self.page)

    def test_lists_by_state(self):
        for state, count in (("live", 1), ("released", 0)):
            answer = self.client.get(address("hold", "changelist") + f"?state__exact={state}")
            self.assertEqual(len(answer.context["cl"].result_list), count)


class TransferTests(StockWorkTestCase):
    def send(self, **typed):
        page = address("transfer", "send-units")
        said = {"sku": "CUP", "quantity": "4", "source": "main", "destination": "north"}
        return self.do(page, **(said | typed))

    def test_sends_and_receives_with_what_is_missing(self):
        answer = self.send()

        transfer = Transfer.objects.get()
        self.assertRedirects(answer, address("transfer", "change", transfer.pk))
        self.assertEqual(level_of("CUP").on_hand, 6)
        self.assertEqual(level_of("CUP", "north").incoming, 4)

        page = address("transfer", "receive-units", transfer.pk)
        answer = self.do(page, quantity="3", is_last="on", reason="loss")

        self.assertContains(answer, "3 arrived, 1 missing.")
        north = level_of("CUP", "north")
        self.assertEqual((north.on_hand, north.incoming), (3, 0))

    def test_calls_back_what_is_under_way(self):
        self.send()

        answer = self.do(address("transfer", "call-back", Transfer.objects.get().pk), note="Rain")

        self.assertContains(answer, "What was under way is back (Rain).")
        self.assertEqual(level_of("CUP").on_hand, 10)

    def test_refuses_what_is_not_there_and_what_lacks_a_reason(self):
        before = what_moved()

        answer = self.send(quantity="11")

        self.assertContains(answer, "Nothing was done:")
        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})

        self.send()
        page = address("transfer", "receive-units", Transfer.objects.get().pk)
        before = what_moved()

        answer = self.do(page, quantity="3", is_last="on")

        self.assertContains(answer, "Nothing was done:")
        self.assertEqual(what_moved()["levels"], before["levels"])
        self.assertIsNone(Transfer.objects.get().closed_at)

    def test_is_for_who_keeps_stock(self):
        for role in ("viewer", "order desk"):
            with self.subTest(role):
                self.refused_to(role, address("transfer", "send-units"))


class StocktakeTests(StockWorkTestCase):
    def begin(self):
        self.do(address("stocktake", "begin-a-stocktake"), location="main")
        return Stocktake.objects.get().pk

    def field(self, sku):
        return f"counted_{level_of(sku).pk}"

    def test_counts_looks_at_the_differences_and_approves(self):
        stocktake = self.begin()
        self.do(address("stocktake", "enter-counts", stocktake), **{self.field("CUP"): "8"})
        shown = self.client.get(address("stocktake", "approve", stocktake))
        self.assertEqual(shown.context["rows"], [["CUP", 10, "10", "8", "-2", "operator"]])

        answer = self.do(address("stocktake", "approve", stocktake))

        self.assertContains(answer, "its differences are booked")
        self.assertEqual((level_of("CUP").on_hand, level_of("TEAPOT").on_hand), (8, 4))
        self.assertEqual(Stocktake.objects.get().status, "approved")

    def test_whoever_counts_does_not_approve(self):
        stocktake = self.begin()
        self.client.force_login(given_person("stock keeper"))

        answer = self.do(
            address("stocktake", "enter-counts", stocktake), **{self.field("CUP"): "8"}
        )

        self.assertContains(answer, "1 counted.")
        self.refused_to("stock keeper", address("stocktake", "approve", stocktake))
        self.assertEqual(level_of("CUP").on_hand, 10)

    def test_refuses_a_count_of_nothing(self):
        page = address("stocktake", "enter-counts", self.begin())
        before = what_moved()

        answer = self.do(page)

        self.assertContains(answer, "Enter one count at least.")
        self.assertEqual(what_moved(), before)

    def test_abandons_and_books_nothing(self):
        stocktake = self.begin()
        self.do(address("stocktake", "enter-counts", stocktake), **{self.field("CUP"): "8"})
        movements = Movement.objects.count()

        self.do(address("stocktake", "abandon", stocktake))

        self.assertEqual(Stocktake.objects.get().status, "cancelled")
        self.assertEqual((level_of("CUP").on_hand, Movement.objects.count()), (10, movements))

    def test_is_for_who_keeps_stock(self):
        for role in ("viewer", "order desk"):
            with self.subTest(role):
                self.refused_to(role, address("stocktake", "begin-a-stocktake"))


class LevelTests(StockWorkTestCase):
    def setUp(self):
        super().setUp()
        self.client.force_login(given_person("stock keeper"))
        self.level = level_of("CUP").pk

    def test_puts_units_aside_and_lets_them_go(self):
        page = address("stocklevel", "quarantine", self.level)

        self.do(page, delta="3", reason="damage")
        answer = self.do(page, delta="-1", reason="found")

        self.assertContains(answer, "-1 to 2 in quarantine (found)")
        self.assertEqual((level_of("CUP").on_hand, level_of("CUP").unavailable), (10, 2))

    def test_refuses_to_put_more_aside_than_there_is(self):
        before = what_moved()

        answer = self.do(
            address("stocklevel", "quarantine", self.level), delta="11", reason="damage"
        )

        self.assertContains(answer, "Nothing was done:")
        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})

    def test_two_people_who_set_limits_undo_nothing_of_each_others(self):
        page = address("stocklevel", "set-limits", self.level)
        first, second = self.open_form(page), self.open_form(page)

        self.client.post(page, first | {"safety": "2"})
        self.client.post(page, second | {"low_at": "9"})

        level = level_of("CUP")
        self.assertEqual((level.safety, level.low_at, level.available), (2, 9, 8))

    def test_lists_what_is_low_short_or_waited_for(self):
        def listed(state):
            answer = self.client.get(address("stocklevel", "changelist") + f"?stock={state}")
            return [level.sku.code for level in answer.context["cl"].result_list]

        self.do(address("stocklevel", "set-limits", self.level), low_at="9")
        self.assertEqual(listed("low"), [])
        place({"CUP": 2, "TEAPOT": 4}, account=given_account())
        self.do(address("stocklevel", "count", level_of("TEAPOT").pk), on_hand="1", reason="count")

        self.assertEqual(listed("low"), ["CUP"])
        self.assertEqual(listed("shortfall"), ["TEAPOT"])
        self.assertEqual(listed("none"), ["TEAPOT"])
        self.assertEqual(listed("waiting"), [])


class LocationTests(StockWorkTestCase):
    def test_are_kept_by_operators(self):
        self.do(
            address("location", "add"), code="annex", name="Annex", priority="5", is_active="on"
        )
        annex = Location.objects.get(code="annex")
        self.assertEqual((annex.name, annex.priority, annex.is_active), ("Annex", 5, True))

        self.do(address("location", "change", annex.pk), name="The annex", priority="7")

        annex.refresh_from_db()
        self.assertEqual((annex.name, annex.priority, annex.is_active), ("The annex", 7, False))

    def test_refuses_a_code_that_is_taken(self):
        answer = self.do(address("location", "add"), code="north", name="N", priority="0")

        self.assertContains(answer, "errornote")
        self.assertEqual(Location.objects.get(code="north").name, "North")


class ImportTests(StockWorkTestCase):
    HEAD = "sku,name,price_minor,currency,on_hand\n"

    def upload(self, text, **typed):
        page = address("stockimport", "upload-a-file")
        file = SimpleUploadedFile("goods.csv", text.encode())
        return self.do(page, file=file, **typed)

    def test_tries_tells_of_each_row_and_imports(self):
        answer = self.upload(self.HEAD + "CUP,,,,12\nTRAY,Tray,x,EUR,5\n", is_dry_run="on")

        self.assertContains(answer, "A trial: nothing was done. 1 rows with an effect, 1 rejected.")
        self.assertEqual(level_of("CUP").on_hand, 10)
        trial = StockImport.objects.get()
        story = self.client.get(address("stockimport", "change", trial.pk)).context
        self.assertEqual([row[:3] for row in story["tables"][0].rows], [[3, "TRAY", "rejected"]])

        answer = self.do(address("stockimport", "import-it", trial.pk))

        self.assertContains(answer, "1 rows with an effect, 1 rejected.")
        self.assertEqual(level_of("CUP").on_hand, 12)
        self.assertEqual(Movement.objects.latest("pk").actor, "operator")

        self.do(address("stockimport", "import-it", trial.pk))
        self.assertEqual(StockImport.objects.filter(is_dry_run=False).count(), 1)

    def test_gives_the_rejected_rows_back_as_a_file(self):
        self.upload(self.HEAD + "CUP,,,,12\nTRAY,Tray,x,EUR,5\n")
        done = StockImport.objects.get()
        page = address("stockimport", "rejected", done.pk)
        self.assertContains(self.client.get(address("stockimport", "change", done.pk)), page)

        answer = self.client.get(page)

        self.assertEqual(answer["Content-Type"], "text/csv; charset=utf-8")
        head, row = answer.content.decode().splitlines()
        self.assertEqual(head, "line,why,detail,sku,name,price_minor,currency,on_hand")
        self.assertTrue(row.endswith(",TRAY,Tray,x,EUR,5"), row)

    def test_leaves_a_large_file_to_the_background_and_shows_how_far_it_is(self):
        rows = "".join(f"SKU-{n},Cup,250,EUR,1\n" for n in range(301))

        answer = self.upload(self.HEAD + rows)

        self.assertContains(answer, "worked off in the background")
        self.assertContains(answer, '<meta http-equiv="refresh" content="3">')
        self.assertEqual(StockImport.objects.get().status, "waiting")

    def test_refuses_what_is_no_such_file(self):
        before = what_moved()

        answer = self.upload("name\nCup\n")

        self.assertContains(answer, "Nothing was done:")
        self.assertEqual(what_moved(), before)
        self.assertFalse(StockImport.objects.exists())

    def test_is_for_who_keeps_stock(self):
        for role in ("viewer", "order desk"):
            with self.subTest(role):
                self.refused_to(role, address("stockimport", "upload-a-file"))


class SeveralLocationsTests(StockWorkTestCase):
    def test_an_order_tells_where_its_units_are(self):
        given_units("CUP", 5, location="north")
        answer = place({"CUP": 12}, account=given_account())

        order = json.loads(answer.body)["id"]
        page = reverse("admin:orders_order_change", args=[order])
        tables = {table.id: table for table in self.client.get(page).context["tables"]}

        where = [row[:3] for row in tables["allocations"].rows]
        self.assertEqual(where, [["CUP", "main", 10], ["CUP", "north", 2]])

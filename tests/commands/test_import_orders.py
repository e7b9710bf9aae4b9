"""manage.py import_orders, on small files."""

import csv
import gzip
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import TestCase

from events.models import IdempotencyKey
from events.rules import lock_number
from events.usecases import RequestInProgress
from inventory.models import Movement, Sku
from orders.importing import Importer, Placed, import_sales
from orders.management.commands.import_orders import ALWAYS_TOLD, TOLD_IF_ANY
from orders.models import Line, Order
from orders.retail import group_rows, read_rows
from orders.usecases import Pick, fulfill_order
from rollout.codepath import override
from tests.builders import (
    a_change,
    discrepancies,
    given_account,
    given_sku,
    given_stock,
    level_of,
    what_moved,
)
from tests.committed import CommittedTestCase
from tests.retail_file import HEAD, a_line

ROOT = Path(__file__).parents[2]


class Importing:
    """A folder with a file, and the command run on it."""

    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.folder = Path(folder)
        self.file = self.folder / "sales.csv"
        self.rejected_file = self.folder / "rejected.csv"
        self.account = given_account("shop")

    def write(self, *lines):
        self.file.write_bytes("".join([HEAD, *lines]).encode(errors="surrogateescape"))

    def run_import(self, *options, file=None):
        stdout = StringIO()
        call_command(
            "import_orders",
            *(str(file or self.file), "--account", "shop", "--rejected", str(self.rejected_file)),
            *options,
            stdout=stdout,
            stderr=StringIO(),
        )
        return {
            line[:16].strip(): line[16:].split()
            for line in stdout.getvalue().splitlines()
            if line[:16].strip() in ALWAYS_TOLD + TOLD_IF_ANY
        } | {"told": stdout.getvalue()}

    def rejected_rows(self):
        with self.rejected_file.open(newline="") as file:
            return [(row["InvoiceNo"], row["Line"], row["Reason"]) for row in csv.DictReader(file)]


class ImportOrdersTests(Importing, TestCase):
    def setUp(self):
        super().setUp()
        self.enterContext(override(orders_place="v1"))

    def test_places_an_invoice_as_the_order_that_it_was(self):
        given_stock("CUP", on_hand=10, price_minor=999, currency="GBP")
        self.write(
            a_line("1", code="CUP", quantity="2", price="1.25", country="France"),
            a_line("1", code="CUP", quantity="1", price="0", country="France"),
            a_line("1", code="POST", description="POSTAGE", quantity="3", price="18"),
        )

        told = self.run_import()

        order = Order.objects.get()
        self.assertEqual(order.account, self.account)
        self.assertEqual((order.customer, order.reference, order.currency), ("17850", "1", "GBP"))
        self.assertEqual(order.placed_at, datetime(2010, 12, 1, 8, 26, tzinfo=UTC))
        self.assertEqual((order.subtotal_minor, order.total_minor), (250, 5650))
        self.assertEqual(order.charges, [{"code": "POST", "name": "POSTAGE", "amount_minor": 5400}])
        self.assertEqual(order.metadata, {"country": "France"})
        self.assertEqual(
            list(
                Line.objects.order_by("position").values_list("sku", "quantity", "unit_price_minor")
            ),
            [("CUP", 2, 125), ("CUP", 1, 0)],
        )
        self.assertEqual(level_of("CUP").allocated, 3)
        movement = Movement.objects.get(kind="allocate")
        self.assertEqual((movement.actor, movement.source), ("shop", "import"))
        self.assertEqual(told["placed now"], ["1", "3", "3", "56.50"])
        self.assertEqual(self.rejected_rows(), [])

    def test_makes_account_skus_and_opening_stock_when_asked(self):
        self.account.delete()
        self.write(
            a_line("1", code="CUP", quantity="2", description="Cup", price="1.25"),
            a_line("2", code="CUP", quantity="3", price="1.25"),
            a_line("2", code="M", description="Manual", quantity="2", price="7.50"),
            a_line("3", code="M", description="Manual", quantity="2", price="9"),
        )

        told = self.run_import("--create-account", "--create-skus", "--opening-stock")

        self.assertFalse(User.objects.get(username="shop").has_usable_password())
        self.assertEqual(
            list(
                Sku.objects.order_by("code").values_list(
                    "code", "name", "price_minor", "currency", "is_tracked"
                )
            ),
            [("CUP", "Cup", 125, "GBP", True), ("M", "Manual", 900, "GBP", False)],
        )
        self.assertEqual((level_of("CUP").on_hand, level_of("CUP").allocated), (5, 5))
        self.assertEqual(level_of("M").on_hand, 0)
        self.assertEqual(told["placed now"], ["3", "4", "5", "39.25"])

    def test_opening_stock_may_be_a_number(self):
        self.write(a_line("1", code="CUP", quantity="2"))

        self.run_import("--create-skus", "--opening-stock", "50")

        self.assertEqual((level_of("CUP").on_hand, level_of("CUP").allocated), (50, 2))
        before = what_moved()
        with self.assertRaisesMessage(CommandError, "in another amount"):
            self.run_import("--opening-stock", "60")
        self.assertEqual(what_moved(), before)

    def test_a_second_run_adds_nothing(self):
        self.write(a_line("1", code="CUP"), a_line("2", code="CUP"), a_line("3", code="no code"))
        options = ("--create-skus", "--opening-stock")
        self.run_import(*options)
        before = what_moved()

        told = self.run_import(*options)

        self.assertEqual(what_moved(), before)
        self.assertEqual(told["placed now"], ["0", "0", "0", "0.00"])
        self.assertEqual(told["placed before"], ["2", "2", "12", "30.60"])
        self.assertEqual(told["rejected"], ["1", "1", "0", "0.00"])

    def test_a_limit_takes_the_first_by_date_and_the_rest_may_follow(self):
        self.write(
            a_line("2", code="CUP", at="12/2/2010 8:00"), a_line("1", code="CUP", quantity="4")
        )
        options = ("--create-skus", "--opening-stock")

        self.run_import(*options, "--limit", "1")
        first = list(Order.objects.values_list("reference", flat=True))
        self.run_import(*options)

        self.assertEqual(first, ["1"])
        self.assertEqual(
            list(Order.objects.order_by("id").values_list("reference", flat=True)), ["1", "2"]
        )
        self.assertEqual((level_of("CUP").on_hand, level_of("CUP").allocated), (10, 10))

    def test_goes_on_past_bad_rows_and_writes_them_to_a_file(self):
        given_stock("CUP", on_hand=10, currency="GBP")
        self.write(
            a_line("1", code="CUP", quantity="4"),
            a_line("2", code="CUP", quantity="1"),
            a_line("2", code="CUP", quantity="one"),
            a_line("3", code="CUP", description="CAF\udce9"),
            "4,CUP\n",
            a_line("", code="CUP"),
            a_line("C5", code="CUP", quantity="4"),
            a_line("6", code="CUP", quantity="5", at="12/2/2010 8:26"),
        )

        told = self.run_import()

        self.assertEqual(
            list(Order.objects.order_by("id").values_list("reference", flat=True)), ["1", "6"]
        )
        self.assertEqual(level_of("CUP").allocated, 9)
        self.assertEqual(told["placed now"][:3], ["2", "2", "9"])
        self.assertEqual(told["rejected"], ["4", "5", "1", "2.55"])
        rejected = self.rejected_file.read_bytes()
        self.assertEqual(rejected.splitlines()[0], b"Line,Reason,Detail," + HEAD.strip().encode())
        self.assertIn(b"CAF\xe9", rejected)
        with self.rejected_file.open(newline="", errors="replace") as file:
            reasons = [(row["InvoiceNo"], row["Reason"]) for row in csv.DictReader(file)]
        self.assertEqual(
            reasons,
            [
                ("2", "invoice_rejected"),
                ("2", "quantity_not_whole"),
                ("3", "undecodable"),
                ("4", "wrong_column_count"),
                ("", "bad_invoice_number"),
                ("C5", "quantity_not_negative"),
            ],
        )

    def test_a_refused_invoice_is_rejected_whole_and_moves_nothing(self):
        given_stock("CUP", on_hand=5, currency="GBP")
        given_stock("EURO", on_hand=5, currency="EUR")
        given_sku("OLD", currency="GBP", is_active=False)
        self.write(
            a_line("1", code="CUP", quantity="1"),
            a_line("1", code="CUP", quantity="5"),
            a_line("2", code="NONE"),
            a_line("3", code="OLD"),
            a_line("4", code="EURO", quantity="1"),
            a_line("5", code="CUP", quantity="1"),
            a_line("5", code="D", quantity="-1", price="100"),
        )
        before = what_moved()

        told = self.run_import()

        self.assertEqual(
            self.rejected_rows(),
            [
                ("4", "6", "other_currency"),
                ("1", "2", "insufficient_stock"),
                ("1", "3", "insufficient_stock"),
                ("2", "4", "sku_unknown"),
                ("3", "5", "sku_inactive"),
                ("5", "7", "total_out_of_range"),
                ("5", "8", "total_out_of_range"),
            ],
        )
        self.assertEqual(told["rejected"][:2], ["5", "7"])
        # Only the shortage is an answer that is kept.
        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})

    def test_what_was_rejected_can_be_mended_and_imported(self):
        given_stock("CUP", on_hand=5, currency="GBP")
        self.write(a_line("1", code="CUP"), a_line("2", code="CUP", quantity="two"))
        self.run_import()
        mended = self.folder / "mended.csv"
        mended.write_text(self.rejected_file.read_text().replace(",two,", ",2,"))

        self.run_import(file=mended)

        self.assertEqual(Order.objects.get().reference, "2")
        self.assertEqual([row[2] for row in self.rejected_rows()], ["insufficient_stock"])

        # A refusal is kept: more stock alone does not change it, another key does.
        refused = self.folder / "refused.csv"
        refused.write_bytes(self.rejected_file.read_bytes())
        self.run_import("--opening-stock", file=refused)
        self.assertEqual(self.rejected_rows(), [("1", "2", "insufficient_stock")])
        self.run_import("--key-prefix", "again", file=refused)

        self.assertEqual(self.rejected_rows(), [])
        self.assertEqual(Order.objects.get(reference="1").lines.get().quantity, 6)

    def test_a_cancellation_gives_units_of_the_latest_earlier_lines_back(self):
        given_stock("CUP", on_hand=20, currency="GBP")
        given_stock("TRAY", on_hand=20, currency="GBP")
        self.write(
            a_line("1", code="CUP", quantity="5", at="12/1/2010 8:00"),
            a_line("2", code="CUP", quantity="2", at="12/2/2010 8:00"),
            a_line("2", code="TRAY", quantity="1", at="12/2/2010 8:00"),
            a_line("3", code="CUP", quantity="3", at="12/2/2010 9:00", customer="1"),
            a_line("C4", code="CUP", quantity="-4", at="12/3/2010 8:00"),
            a_line("C4", code="TRAY", quantity="-2", price="2", at="12/3/2010 8:00"),
            a_line("C5", code="POST", quantity="-1", price="18", at="12/3/2010 9:00"),
            a_line("6", code="CUP", quantity="1", at="12/4/2010 8:00"),
            a_line("C7", code="CUP", quantity="-9", at="12/3/2010 9:30", customer="1"),
        )

        told = self.run_import()

        left = {
            (line.order.reference, line.sku): line.quantity - line.cancelled_quantity
            for line in Line.objects.select_related("order")
        }
        self.assertEqual(
            left,
            {("1", "CUP"): 3, ("2", "CUP"): 0, ("2", "TRAY"): 1, ("3", "CUP"): 3, ("6", "CUP"): 1},
        )
        self.assertEqual((level_of("CUP").on_hand, level_of("CUP").allocated), (20, 7))
        self.assertEqual(
            self.rejected_rows(),
            [
                ("C4", "7", "cancellation_unmatched"),
                ("C5", "8", "charge_unmatched"),
                ("C7", "10", "cancellation_unmatched"),
            ],
        )
        self.assertEqual(told["placed now"][:3], ["4", "5", "12"])
        self.assertEqual(told["cancelled now"], ["1", "1", "-4", "-10.20"])
        self.assertEqual(told["rejected"], ["2", "3", "-11", "-44.95"])
        self.assertEqual(told["together"], ["7", "9", "-3", "-24.55"])
        self.assertEqual(discrepancies(), [])

        before = what_moved()
        again = self.run_import()
        self.assertEqual(what_moved(), before)
        self.assertEqual(again["cancelled before"], ["1", "1", "-4", "-10.20"])
        self.assertEqual(again["rejected"], told["rejected"])

    def test_what_was_sent_comes_back_to_the_shelf(self):
        given_stock("CUP", on_hand=10, currency="GBP")
        self.write(a_line("1", code="CUP", quantity="5"))
        self.run_import()
        order = Order.objects.get()
        fulfill_order(a_change(order), picks=[Pick(0, 3)])
        self.write(a_line("C2", code="CUP", quantity="-4", at="12/2/2010 8:00"))

        self.run_import()

        line = Line.objects.get()
        self.assertEqual(
            (line.cancelled_quantity, line.fulfilled_quantity, line.returned_quantity), (2, 3, 2)
        )
        self.assertEqual((level_of("CUP").on_hand, level_of("CUP").allocated), (9, 0))
        self.assertEqual(discrepancies(), [])

    def test_what_a_cancellation_gives_back_can_be_sold_again(self):
        given_stock("CUP", on_hand=5, currency="GBP")
        self.write(
            a_line("1", code="CUP", quantity="5", at="12/1/2010 8:00"),
            a_line("C2", code="CUP", quantity="-5", at="12/1/2010 9:00"),
            a_line("3", code="CUP", quantity="5", at="12/1/2010 10:00"),
        )

        self.run_import()

        self.assertEqual(
            list(Order.objects.order_by("number").values_list("reference", "status")),
            [("1", "cancelled"), ("3", "placed")],
        )
        self.assertEqual(level_of("CUP").allocated, 5)

    def test_refuses_a_number_that_was_imported_with_other_rows(self):
        given_stock("CUP", on_hand=50, currency="GBP")
        self.write(a_line("1", code="CUP"))
        self.run_import()
        before = what_moved()
        self.write(a_line("1", code="CUP", quantity="7"))

        self.run_import()

        self.assertEqual(what_moved(), before)
        self.assertEqual(self.rejected_rows(), [("1", "2", "idempotency_key_reused")])

    def test_reads_compressed_files_and_other_encodings(self):
        given_stock("CUP", on_hand=50, currency="GBP")
        packed = self.folder / "sales.csv.gz"
        text = HEAD + a_line("1", code="CUP") + a_line("1", code="D", description="5 £ off")
        packed.write_bytes(gzip.compress(text.encode("latin-1")))

        self.run_import("--encoding", "latin-1", file=packed)

        self.assertEqual(Order.objects.get().charges[0]["name"], "5 £ off")

    def test_a_dry_run_places_nothing(self):
        self.write(a_line("1", code="CUP"), a_line("2", code="CUP", price="-1"))
        before = what_moved()

        told = self.run_import("--dry-run", "--create-skus", "--opening-stock")

        self.assertEqual(what_moved(), before)
        self.assertFalse(Sku.objects.exists())
        self.assertEqual(told["readable"], ["1", "1", "6", "15.30"])
        self.assertEqual(self.rejected_rows(), [("2", "3", "price_negative")])

    def test_refuses_what_it_cannot_do_in_one_line_and_changes_nothing(self):
        self.write(a_line("1", code="CUP"))
        given_stock("CUP", on_hand=50, currency="GBP")
        User.objects.create_user("gone", is_active=False)
        not_retail = self.folder / "other.csv"
        not_retail.write_text("a,b\n1,2\n")
        not_gzip = self.folder / "sales.csv.gz"
        not_gzip.write_text("plain")
        before = what_moved()
        for file, options, message in (
            (self.folder / "none.csv", (), "none.csv cannot be read: No such file or directory"),
            (self.folder, (), "cannot be read: Is a directory"),
            (not_gzip, (), "cannot be read: Not a gzipped file"),
            (not_retail, (), "does not name the column InvoiceNo"),
            (self.file, ("--account", "nobody"), "No account is called 'nobody'"),
            (self.file, ("--account", "gone"), "'gone' is not active"),
            (self.file, ("--encoding", "klingon"), "no encoding 'klingon'"),
            (self.file, ("--rejected", str(self.file)), "is the file to read"),
            (self.file, ("--rejected", "/nowhere/x"), "cannot be written: No such file"),
            (self.file, ("--limit", "0"), "1 or more"),
            (self.file, ("--opening-stock", "-1"), "1 or more"),
            (self.file, ("--currency", "pounds"), "three capital letters"),
            (self.file, ("--key-prefix", "a,b"), "1 to 64 of"),
        ):
            with self.subTest(message), self.assertRaisesMessage(CommandError, message) as caught:
                self.run_import(*options, file=file)
            self.assertNotIn("\n", str(caught.exception))
        self.assertEqual(what_moved(), before)
        self.assertEqual(self.file.read_text().count("CUP"), 1)


class ImportOrdersTogetherTests(Importing, CommittedTestCase):
    """With real commits, as it is run."""

    def write_invoices(self, count, *, cancelled=()):
        self.write(
            *(
                a_line(str(n), code=f"SKU-{n % 7}", quantity="1", at=minute(n))
                for n in range(count)
            ),
            *(
                a_line(f"C{n}", code=f"SKU-{n % 7}", quantity="-1", at=minute(n + 1))
                for n in cancelled
            ),
        )

    def import_in_process(self, **more):
        options = ("--account", "shop", "--rejected", str(self.rejected_file))
        return subprocess.Popen(
            [sys.executable, "manage.py", "import_orders", str(self.file), *options,
             "--create-skus", "--opening-stock"],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": database_url()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )  # fmt: skip

    def lock_key(self, key):
        """Return the connection on which a request with this key is under way until it closes."""
        other = psycopg.connect(database_url(), autocommit=True)
        self.addCleanup(other.close)
        other.execute("SELECT pg_advisory_lock(%s)", (lock_number(self.account.pk, key),))
        return other

    def wait_for_orders(self, count):
        deadline = time.monotonic() + 60
        while Order.objects.count() < count:
            self.assertLess(time.monotonic(), deadline, "the import got nowhere")
            time.sleep(0.005)

    def assert_each_invoice_is_one_order(self, count, *, cancelled=0):
        references = sorted(int(text) for text in Order.objects.values_list("reference", flat=True))
        self.assertEqual(references, list(range(count)))
        allocated = sum(level_of(f"SKU-{n}").allocated for n in range(7))
        self.assertEqual(allocated, count - cancelled)
        call_command("reconcile", stdout=StringIO())

    def test_places_batches_by_group_commit_in_date_order(self):
        self.write_invoices(120)

        told = self.run_import("--create-skus", "--opening-stock")

        self.assertEqual(told["placed now"][:3], ["120", "120", "120"])
        orders = Order.objects.order_by("number")
        self.assertEqual([order.reference for order in orders], [str(n) for n in range(120)])
        self.assertEqual(
            [order.placed_at for order in orders],
            [datetime(2010, 12, 1, n // 60, n % 60, tzinfo=UTC) for n in range(120)],
        )
        self.assertEqual({order.served_version for order in orders}, {"v2"})
        self.assert_each_invoice_is_one_order(120)

    def test_both_versions_leave_the_same_tables(self):
        self.write_invoices(60)
        tables = {}
        for version in ("v1", "v2"):
            with override(orders_place=version):
                self.run_import("--create-skus", "--opening-stock")
            tables[version] = (
                sorted(Order.objects.values_list("reference", "placed_at", "total_minor")),
                sorted(
                    Movement.objects.values_list(
                        "level__sku__code", "level_version", "kind", "allocated_after", "created_at"
                    )
                ),
            )
            self._fixture_teardown()
            self.account = given_account("shop")

        self.assertEqual(tables["v1"], tables["v2"])

    def test_asks_again_for_a_key_that_is_being_worked_on(self):
        given_stock("SKU-0", on_hand=1, currency="GBP")
        self.write_invoices(1)
        other = self.lock_key("import:0")
        threading.Timer(0.5, other.close).start()

        told = self.run_import()

        self.assertEqual(told["placed now"][:1], ["1"])
        self.assertEqual(level_of("SKU-0").allocated, 1)

    def test_stops_when_trouble_lasts_and_loses_nothing(self):
        given_stock("SKU-0", on_hand=1, currency="GBP")
        given_stock("SKU-1", on_hand=1, currency="GBP")
        self.write_invoices(2)
        other = self.lock_key("import:0")
        importer = Importer(
            account_id=self.account.pk, actor="shop", currency="GBP", retry_delays_s=(0.01,)
        )
        invoices = group_rows(read_rows(self.file.read_text().splitlines(keepends=True))).invoices

        outcomes = []
        with self.assertRaises(RequestInProgress):
            for batch in import_sales(invoices, [], importer):
                outcomes += batch

        self.assertEqual(outcomes, [Placed(invoices[1], is_replayed=False)])
        self.assertEqual(Order.objects.get().reference, "1")
        other.close()
        self.assertEqual(
            [
                outcome.is_replayed
                for batch in import_sales(invoices, [], importer)
                for outcome in batch
            ],
            [False, True],
        )

    @pytest.mark.prove
    @pytest.mark.paired
    def test_a_kill_in_the_middle_loses_nothing_and_doubles_nothing(self):
        self.write_invoices(1_200, cancelled=range(0, 1_190, 10))
        for _ in range(3):
            already = Order.objects.count()
            process = self.import_in_process()
            self.wait_for_orders(min(already + 200, 1_200))
            process.kill()
            process.communicate(timeout=30)

        finished = self.import_in_process()
        _, errors = finished.communicate(timeout=120)

        self.assertEqual(finished.returncode, 0, errors)
        self.assert_each_invoice_is_one_order(1_200, cancelled=119)
        gone = Order.objects.filter(status="cancelled").values_list("reference", flat=True)
        self.assertEqual(sorted(map(int, gone)), list(range(0, 1_190, 10)))

    @pytest.mark.prove
    @pytest.mark.paired
    def test_ctrl_c_ends_the_batch_tells_how_far_it_came_and_can_go_on(self):
        self.write_invoices(1_200)
        process = self.import_in_process()
        self.wait_for_orders(1)
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=30)

        self.assertEqual(process.returncode, 130, errors)
        self.assertNotIn("Traceback", errors)
        placed = Order.objects.count()
        self.assertLess(placed, 1_200)
        self.assertRegex(told, rf"placed now +{placed:,} ")
        self.assertIn("Run it again to go on.", told)
        self.assertEqual(IdempotencyKey.objects.filter(key__regex="^import:[0-9]").count(), placed)

        _, errors = self.import_in_process().communicate(timeout=120)
        self.assert_each_invoice_is_one_order(1_200)


def minute(number):
    """Return a minute of the first day, as the file writes it."""
    return f"12/1/2010 {number // 60}:{number % 60:02}"


def database_url():
    """Return the address of the test's own database."""
    name = connection.settings_dict["NAME"]
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()

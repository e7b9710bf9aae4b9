"""The whole real file, against arithmetic of our own."""

import csv
import gzip
import time
from collections import Counter, defaultdict
from datetime import datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from orders.models import Order
from rollout.codepath import override
from tests.builders import what_moved
from tests.commands.test_import_orders import Importing
from tests.committed import CommittedTestCase

FILE = Path(__file__).parents[2] / "demo" / "online_retail.csv.gz"
NO_GOODS = {"POST", "D", "M", "C2"}


def read_sales():
    """Return the rows of the file that are no cancellations, by invoice."""
    return by_invoice(row for row in read_rows() if not row["InvoiceNo"].startswith("C"))


def read_cancellations():
    """Return the rows of the file that are cancellations, by number, first to last."""
    cancelled = by_invoice(row for row in read_rows() if row["InvoiceNo"].startswith("C"))
    return dict(sorted(cancelled.items(), key=lambda item: moment_of(item[1])))


def read_rows():
    with gzip.open(FILE, "rt", newline="") as file:
        return list(csv.DictReader(file))


def by_invoice(rows):
    invoices = defaultdict(list)
    for row in rows:
        invoices[row["InvoiceNo"]].append(row)
    return invoices


def moment_of(rows):
    return min(datetime.strptime(row["InvoiceDate"], "%m/%d/%Y %H:%M") for row in rows)  # noqa: DTZ007


def match_by_hand(sales):
    """
    Return what a cancellation leaves of each sale, and the rows that match none.

    sales: by number. Left are units by (number, place in the invoice).
    """
    left = {}
    lines_of = defaultdict(list)
    for number, rows in sorted(sales.items(), key=lambda item: moment_of(item[1])):
        for n, row in enumerate(only_goods(rows) or rows):
            left[number, n] = int(row["Quantity"])
            lines_of[row["CustomerID"], row["StockCode"]].append((moment_of(rows), number, n))
    unmatched = []
    for rows in read_cancellations().values():
        for row in rows:
            lines = latest_first(lines_of[row["CustomerID"], row["StockCode"]], moment_of(rows))
            wanted = -int(row["Quantity"])
            if sum(left[line] for line in lines) < wanted:
                unmatched.append(row)
                continue
            for line in lines:
                taken = min(wanted, left[line])
                left[line] -= taken
                wanted -= taken
    return left, unmatched


def latest_first(lines, moment):
    """Return lines that were sold before a moment, of the latest sale first."""
    numbers = list(dict.fromkeys(number for at, number, _ in reversed(lines) if at < moment))
    return [(number, n) for wanted in numbers for _, number, n in lines if number == wanted]


def units_of(rows):
    return sum(int(row["Quantity"]) for row in rows)


def pounds_of(rows):
    return sum((int(row["Quantity"]) * Decimal(row["UnitPrice"]) for row in rows), Decimal())


def only_goods(rows):
    return [row for row in rows if row["StockCode"] not in NO_GOODS]


def query(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


@pytest.mark.prove
@pytest.mark.paired
class WholeFileTests(Importing, CommittedTestCase):
    def import_whole(self, *options):
        started = time.monotonic()
        told = self.run_import("--create-skus", *options, file=FILE)
        print(f"whole file {options}: {time.monotonic() - started:.1f} s")  # noqa: T201
        return told

    def test_every_sale_is_one_order_to_the_unit_and_the_penny(self):
        sales = read_sales()
        self.assertEqual(len(sales), 1_063)

        for version in ("v1", "v2"):
            with self.subTest(version), override(orders_place=version):
                told = self.import_whole("--opening-stock")

                self.assertEqual(told["placed now"][0], "1,063")
                self.assert_orders_are(sales)
                self.assert_cancelled_is_what_matches(sales, told)
                self.assert_the_file_is_whole(told)
                self.assert_stock_is_opening_less_sold_and_more_cancelled(sales)
                self.assert_a_second_run_adds_nothing()
                self.assertEqual(set(Order.objects.values_list("served_version")), {(version,)})
                call_command("reconcile", stdout=StringIO())
            self._fixture_teardown()
            self.setUp()

    def assert_orders_are(self, sales):
        pounds = {
            reference: Decimal(total) / 100
            for reference, total in query("SELECT reference, total_minor FROM orders_order")
        }
        self.assertEqual(pounds, {number: pounds_of(rows) for number, rows in sales.items()})
        units = dict(
            query(
                "SELECT reference, sum(quantity) FROM orders_line l"
                " JOIN orders_order o ON o.id = l.order_id GROUP BY reference"
            )
        )
        # Where nothing else was sold, what is no goods is the lines.
        self.assertEqual(
            units, {number: units_of(only_goods(rows) or rows) for number, rows in sales.items()}
        )
        charges = query(
            "SELECT c ->> 'code', sum((c ->> 'amount_minor')::bigint)::bigint"
            "  FROM orders_order, jsonb_array_elements(charges) AS c GROUP BY 1"
        )
        expected = Counter()
        for rows in sales.values():
            if only_goods(rows):
                for row in rows:
                    if row["StockCode"] in NO_GOODS:
                        expected[row["StockCode"]] += int(pounds_of([row]) * 100)
        self.assertEqual(dict(charges), dict(expected))

    def assert_cancelled_is_what_matches(self, sales, told):
        left, unmatched = match_by_hand(sales)
        lines = query(
            "SELECT reference, position, quantity - cancelled_quantity FROM orders_line l"
            " JOIN orders_order o ON o.id = l.order_id"
        )
        self.assertEqual({(number, n): units for number, n, units in lines}, left)
        cancelled = [row for rows in read_cancellations().values() for row in rows]
        accepted = [row for row in cancelled if row not in unmatched]
        self.assert_told(told["cancelled now"], accepted)
        with self.rejected_file.open(newline="") as file:
            rejected = [row for row in csv.DictReader(file) if row["InvoiceNo"].startswith("C")]
        self.assertEqual(
            sorted((row["InvoiceNo"], row["StockCode"], row["Quantity"]) for row in rejected),
            sorted((row["InvoiceNo"], row["StockCode"], row["Quantity"]) for row in unmatched),
        )
        self.assertEqual(
            {row["StockCode"] in NO_GOODS: row["Reason"] for row in rejected},
            {True: "charge_unmatched", False: "cancellation_unmatched"},
        )

    def assert_told(self, told, rows):
        self.assertEqual(
            [number.replace(",", "") for number in told[1:]],
            [str(len(rows)), str(units_of(only_goods(rows))), f"{pounds_of(rows):.2f}"],
        )

    def assert_the_file_is_whole(self, told):
        rows = read_rows()
        self.assertEqual(told["together"][0], "1,324")
        self.assert_told(told["together"], rows)

    def assert_stock_is_opening_less_sold_and_more_cancelled(self, sales):
        sold = Counter()
        for rows in sales.values():
            for row in only_goods(rows):
                sold[row["StockCode"]] += int(row["Quantity"])
        kept = Counter()
        for (number, n), units in match_by_hand(sales)[0].items():
            row = (only_goods(sales[number]) or sales[number])[n]
            if row["StockCode"] not in NO_GOODS:
                kept[row["StockCode"]] += units
        levels = query(
            "SELECT code, on_hand, allocated FROM inventory_stocklevel l"
            " JOIN inventory_sku s ON s.id = l.sku_id WHERE is_tracked"
        )
        self.assertEqual(
            {code: (on_hand, allocated) for code, on_hand, allocated in levels},
            {code: (units, kept[code]) for code, units in sold.items()},
        )

    def assert_a_second_run_adds_nothing(self):
        before = what_moved()
        told = self.import_whole("--opening-stock")
        self.assertEqual(told["placed now"][0], "0")
        self.assertEqual(told["placed before"][0], "1,063")
        self.assertEqual(told["cancelled now"][0], "0")
        self.assertEqual(what_moved(), before)

    def test_what_is_accepted_and_what_is_rejected_is_the_file(self):
        sales = read_sales()

        # Not enough of everything: some invoices must be refused.
        told = self.import_whole("--opening-stock", "200")

        references = set(Order.objects.values_list("reference", flat=True))
        with self.rejected_file.open(newline="") as file:
            rejected = by_invoice(
                row for row in csv.DictReader(file) if not row["InvoiceNo"].startswith("C")
            )
        self.assertGreater(len(rejected), 100)
        self.assertEqual(references | set(rejected), set(sales))
        self.assertEqual(references & set(rejected), set())
        for number, rows in rejected.items():
            self.assertEqual({row["Reason"] for row in rows}, {"insufficient_stock"})
            self.assertEqual(units_of(rows), units_of(sales[number]))
            self.assertEqual(pounds_of(rows), pounds_of(sales[number]))
        ((pounds,),) = query("SELECT sum(total_minor) / 100 FROM orders_order")
        rejected_pounds = pounds_of([row for rows in rejected.values() for row in rows])
        self.assertEqual(
            pounds + rejected_pounds, pounds_of([row for rows in sales.values() for row in rows])
        )
        accepted = {number: rows for number, rows in sales.items() if number in references}
        self.assert_cancelled_is_what_matches(accepted, told)
        self.assert_the_file_is_whole(told)
        ((oversold,),) = query(
            "SELECT count(*) FROM inventory_stocklevel WHERE allocated > on_hand OR on_hand > 200"
        )
        self.assertEqual(oversold, 0)
        call_command("reconcile", stdout=StringIO())

"""What a line of an Online Retail file says."""

import csv
import io
import unittest
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from inventory import rules as inventory
from orders import retail
from orders.retail import NotRetail, RejectedRow, Row, read_rows
from tests.retail_file import HEAD, a_line


def read(*lines, head=HEAD):
    return list(read_rows([head, *lines]))


class ReadRowsTests(unittest.TestCase):
    def test_reads_every_cell(self):
        self.assertEqual(
            read(a_line(description="  CREAM CUPID, HEARTS  ")),
            [
                Row(
                    line=2,
                    text='536365,85123A,"  CREAM CUPID, HEARTS  ",6,12/1/2010 8:26,2.55,17850,'
                    "United Kingdom",
                    invoice="536365",
                    code="85123A",
                    description="CREAM CUPID, HEARTS",
                    quantity=6,
                    at=datetime(2010, 12, 1, 8, 26, tzinfo=UTC),
                    price_minor=255,
                    customer="17850",
                    country="United Kingdom",
                )
            ],
        )

    def test_finds_the_columns_by_name(self):
        rows = read(
            "7,why,x,1/2/2011 3:04,536365,A-1,,2,0,,\n",
            "\n",
            head="\ufeffLine,Reason,Detail,InvoiceDate,InvoiceNo,StockCode,Description,Quantity,"
            "UnitPrice,CustomerID,Country",
        )

        (row,) = rows
        self.assertEqual((row.invoice, row.code, row.quantity), ("536365", "A-1", 2))
        self.assertEqual(row.at, datetime(2011, 1, 2, 3, 4, tzinfo=UTC))
        self.assertEqual((row.description, row.customer, row.country), ("A-1", "guest", ""))
        self.assertEqual(row.price_minor, 0)

    def test_refuses_a_file_of_something_else(self):
        for lines in ([], [""], ["a,b,c\n"], [HEAD.replace(",Country", "")]):
            with self.subTest(lines), self.assertRaises(NotRetail):
                list(read_rows(lines))

    def test_names_what_is_wrong_with_a_row(self):
        for reason, line in (
            ("wrong_column_count", "536365,85123A,HEART,6,12/1/2010 8:26,2.55,17850\n"),
            ("wrong_column_count", a_line().strip() + ",more\n"),
            ("malformed_csv", '536365,85123A,"HEART,6,12/1/2010 8:26,2.55,17850,UK\n'),
            ("malformed_csv", '536365,85123A,"HE"ART",6,12/1/2010 8:26,2.55,17850,UK\n'),
            ("undecodable", a_line(description="CAF\udce9")),
            ("control_character", a_line(description="HEART\0")),
            ("bad_stock_code", a_line(code="")),
            ("bad_stock_code", a_line(code="85 123")),
            ("bad_stock_code", a_line(code="8" * 65)),
            ("bad_stock_code", a_line(code="gift_0001_2£")),
            ("text_too_long", a_line(description="x" * 129)),
            ("text_too_long", a_line(customer="x" * 129)),
            ("quantity_not_whole", a_line(quantity="")),
            ("quantity_not_whole", a_line(quantity="1.5")),
            ("quantity_not_whole", a_line(quantity="1e3")),
            ("quantity_not_whole", a_line(quantity="٣")),
            ("quantity_not_whole", a_line(quantity="1_000")),
            ("quantity_not_positive", a_line(quantity="0")),
            ("quantity_not_positive", a_line(quantity="-1")),
            ("quantity_not_positive", a_line(code="POST", quantity="0")),
            ("quantity_too_large", a_line(quantity="1000001")),
            ("bad_date", a_line(at="2010-12-01 08:26")),
            ("bad_date", a_line(at="13/1/2010 8:26")),
            ("bad_date", a_line(at="2/30/2010 8:26")),
            ("bad_date", a_line(at="12/1/2010 24:00")),
            ("bad_date", a_line(at="")),
            ("bad_price", a_line(price="")),
            ("bad_price", a_line(price="free")),
            ("bad_price", a_line(price="NaN")),
            ("bad_price", a_line(price="1,50")),
            ("bad_price", a_line(price="1e2")),
            ("price_negative", a_line(price="-0.01")),
            ("price_not_in_pennies", a_line(price="0.001")),
            ("price_not_in_pennies", a_line(price="2.550")),
            ("price_too_large", a_line(price="10000000.01")),
        ):
            with self.subTest(reason, line=line):
                (row,) = read(line)

                self.assertIsInstance(row, RejectedRow)
                self.assertEqual(row.reason, reason)
                self.assertEqual(row.invoice, "536365")
                self.assertEqual(row.text, line.rstrip("\r\n"))
                self.assertTrue(row.detail)

    def test_a_row_without_an_invoice_belongs_to_none(self):
        for invoice in ("", "536 365", "x" * 65):
            (row,) = read(a_line(invoice=invoice))
            self.assertEqual((row.reason, row.invoice), ("bad_invoice_number", ""))

        (row,) = read("no cells at all\n")
        self.assertEqual((row.reason, row.invoice), ("wrong_column_count", ""))

    def test_one_bad_row_spoils_no_other(self):
        rows = read(a_line(), '536366,"open quote\n', a_line(invoice="536367"))

        self.assertEqual([row.invoice for row in rows], ["536365", "536366", "536367"])
        self.assertEqual([type(row) for row in rows], [Row, RejectedRow, Row])
        self.assertEqual([row.line for row in rows], [2, 3, 4])

    def test_the_limits_are_those_of_the_stock(self):
        self.assertEqual(retail.PRICE_MINOR_MAX, inventory.PRICE_MINOR_MAX)
        self.assertEqual(retail.CODE.pattern, inventory.SKU_CODE.pattern)

    @given(st.integers(0, retail.PRICE_MINOR_MAX), st.integers(1, 1_000_000))
    def test_reads_money_to_the_penny(self, price_minor, quantity):
        price = Decimal(price_minor) / 100

        (row,) = read(a_line(price=f"{price:f}", quantity=str(quantity)))

        self.assertEqual(row.price_minor, price_minor)
        self.assertEqual(Decimal(row.total_minor), price * quantity * 100)

    @given(st.lists(st.text(st.characters(exclude_characters="\r\n")), max_size=10))
    def test_reads_or_rejects_whatever_the_cells_hold(self, cells):
        text = io.StringIO()
        csv.writer(text).writerow(cells)

        rows = read(text.getvalue())

        self.assertLessEqual(len(rows), 1)
        for row in rows:
            self.assertEqual(row.text, text.getvalue().rstrip("\r\n"))

    @given(st.text(st.characters(exclude_characters="\r\n")))
    def test_reads_or_rejects_whatever_a_line_holds(self, line):
        self.assertEqual(len(read(line)), 1 if line.strip() else 0)


class ChargeCodeTests(unittest.TestCase):
    def test_knows_what_is_no_goods(self):
        for code, charge in (
            ("POST", "POST"),
            ("D", "D"),
            ("m", "M"),
            ("C2", "C2"),
            ("DOT", "DOT"),
            ("BANK CHARGES", "BANK_CHARGES"),
            ("PADS", "PADS"),
            ("CRUK", "CRUK"),
            ("AMAZONFEE", "AMAZONFEE"),
            ("S", "S"),
            ("B", "B"),
            ("gift_0001_20", "GIFT_0001_20"),
        ):
            self.assertEqual(retail.charge_code(code), charge)

    def test_takes_odd_codes_for_goods(self):
        for code in ("85123A", "10002", "DCGS0076", "SP1002", "C3", "POSTER", "22196"):
            self.assertIsNone(retail.charge_code(code))

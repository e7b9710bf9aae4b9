"""What a file of SKUs and stock says."""

import csv
import unittest

from hypothesis import given
from hypothesis import strategies as st

from inventory import stockfiles
from inventory.spreadsheets import guarded, unguarded
from inventory.stockfiles import (
    BadRow,
    NotAStockFile,
    StockRow,
    read_file,
    read_text,
    rejected_head,
    rejected_line,
)


def rows_of(*lines, head="sku,name,price_minor,currency,location,receive,on_hand,is_active"):
    return read_file("\n".join([head, *lines])).rows


class ReadTextTests(unittest.TestCase):
    def test_refuses_what_is_no_file_of_stock(self):
        for content, message in (
            (b"", "does not name the column sku"),
            (b"name,price_minor\nCup,1\n", "does not name the column sku"),
            (b"sku,colour\nCUP,red\n", "not known: 'colour'"),
            (b"sku,sku\nCUP,CUP\n", "names a column twice"),
            (b"sku\nCAF\xe9\n", "not UTF-8"),
            (b"sku\nC\0P\n", "holds a NUL"),
            (b"sku\n" + b"x" * stockfiles.FILE_BYTES_MAX, "bytes at most"),
            (b"sku\n" + b"x\n" * (stockfiles.ROWS_MAX + 1), "rows at most"),
        ):
            with self.subTest(message), self.assertRaisesRegex(NotAStockFile, message):
                read_text(content)

    def test_reads_past_a_byte_order_mark(self):
        self.assertEqual(read_text(b"\xef\xbb\xbfsku\r\nCUP\r\n"), "sku\r\nCUP\r\n")


class ReadFileTests(unittest.TestCase):
    def test_reads_a_row_in_the_columns_that_the_first_line_names(self):
        (row,) = rows_of("CUP,Cup,250,EUR,north,,7,false\r")

        self.assertEqual(
            row,
            StockRow(
                line=2,
                text="CUP,Cup,250,EUR,north,,7,false",
                sku="CUP",
                name="Cup",
                price_minor=250,
                currency="EUR",
                is_active=False,
                location="north",
                on_hand=7,
            ),
        )

    def test_what_a_row_leaves_empty_it_leaves_alone(self):
        (row,) = rows_of("CUP", head="sku")

        self.assertEqual(row, StockRow(line=2, text="CUP", sku="CUP"))
        self.assertFalse(row.moves_stock)

    def test_names_what_is_wrong_with_a_row(self):
        for why, line in (
            ("bad_sku", "C P,,,,,,,"),
            ("bad_sku", "availability,,,,,,,"),
            ("bad_price", "CUP,Cup,2.50,EUR,,,,"),
            ("bad_price", "CUP,Cup,-1,EUR,,,,"),
            ("bad_price", "CUP,Cup,1000000001,EUR,,,,"),
            ("bad_price", "CUP,Cup,٣,EUR,,,,"),
            ("bad_currency", "CUP,Cup,1,XXX,,,,"),
            ("bad_units", "CUP,,,,,0,,"),
            ("bad_units", "CUP,,,,,-5,,"),
            ("bad_units", "CUP,,,,,1e3,,"),
            ("bad_units", "CUP,,,,,,1000000000001,"),
            ("receive_and_on_hand", "CUP,,,,,1,1,"),
            ("bad_switch", "CUP,,,,,,,yes"),
            ("location_not_found", "CUP,,,,no where,1,,"),
            ("text_too_long", f"CUP,{'x' * 256},1,EUR,,,,"),
            ("wrong_column_count", "CUP,Cup"),
            ("malformed_csv", 'CUP,"Cup,1,EUR,,,,'),
            ("control_character", "CUP,C\x07p,1,EUR,,,,"),
        ):
            with self.subTest(line):
                (row,) = rows_of(line)

                self.assertIsInstance(row, BadRow)
                self.assertEqual((row.why, row.line), (why, 2))

    def test_units_of_one_place_are_set_once(self):
        rows = rows_of("CUP,,,,,,1,", "CUP,,,,north,,1,", "CUP,,,,,,2,", "", "CUP,,,,,3,,")

        self.assertEqual(
            [(row.line, getattr(row, "why", None)) for row in rows],
            [(2, None), (3, None), (4, "on_hand_repeated"), (6, None)],
        )

    @given(st.lists(st.text(st.characters(exclude_characters="\n\0"), max_size=30), max_size=5))
    def test_loses_no_row_of_whatever_text(self, lines):
        rows = read_file("\n".join(["sku,name", *lines])).rows

        self.assertEqual(
            [row.line for row in rows],
            [number for number, line in enumerate(lines, start=2) if line.strip()],
        )


class RejectedLineTests(unittest.TestCase):
    def test_what_was_rejected_reads_as_it_was(self):
        text = 'CUP,"=HYPERLINK(""x"")",-1,EUR,,,,'
        (row,) = rows_of(text)
        columns = ("sku", "name", "price_minor", "currency", "location", "receive", "on_hand")
        columns = (*columns, "is_active")

        told = rejected_head(columns) + rejected_line(columns, row)

        cells = list(csv.reader(told.splitlines()))[1]
        self.assertEqual(cells[:2], ["2", "bad_price"])
        self.assertEqual(cells[3:6], ["CUP", '\'=HYPERLINK("x")', "'-1"])
        (again,) = read_file(told).rows
        self.assertEqual((again.why, again.detail), ("bad_price", row.detail))

    @given(st.text(max_size=5))
    def test_no_cell_is_a_formula_and_all_can_be_read_back(self, cell):
        self.assertFalse(guarded(cell).startswith(("=", "+", "-", "@", "\t", "\r")))
        if not cell.startswith("'"):
            self.assertEqual(unguarded(guarded(cell)), cell)

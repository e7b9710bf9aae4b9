"""What invoices the rows of a file make, and what orders these are."""

import unittest
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from orders.retail import group_rows, list_articles, read_rows, units_sold
from orders.rules import Charge, LineDraft, OrderDraft
from tests.retail_file import HEAD, a_line


def sheet_of(*lines):
    return group_rows(read_rows([HEAD, *lines]))


def only_invoice(*lines):
    sheet = sheet_of(*lines)
    assert sheet.rejections == []
    (invoice,) = sheet.invoices
    return invoice


class GroupRowsTests(unittest.TestCase):
    def test_places_invoices_by_date_wherever_their_rows_stand(self):
        sheet = sheet_of(
            a_line("3", at="12/3/2010 8:00"),
            a_line("1", code="A", at="12/1/2010 8:01"),
            a_line("2", at="12/2/2010 8:00"),
            a_line("1", code="B1", at="12/1/2010 8:00"),
        )

        self.assertEqual([invoice.number for invoice in sheet.invoices], ["1", "2", "3"])
        self.assertEqual([row.code for row in sheet.invoices[0].rows], ["A", "B1"])
        self.assertEqual(sheet.invoices[0].at, datetime(2010, 12, 1, 8, 0, tzinfo=UTC))

    def test_one_bad_row_rejects_its_invoice_and_no_other(self):
        sheet = sheet_of(
            a_line("1", quantity="2", price="1.50"),
            a_line("2"),
            a_line("1", quantity="many"),
            a_line("1", code="POST", price="3"),
        )

        self.assertEqual([invoice.number for invoice in sheet.invoices], ["2"])
        (rejection,) = sheet.rejections
        self.assertEqual(rejection.number, "1")
        self.assertEqual(
            [(row.line, row.reason) for row in rejection.rows],
            [(2, "invoice_rejected"), (4, "quantity_not_whole"), (5, "invoice_rejected")],
        )
        self.assertEqual(rejection.rows[0].detail, "line 4 of this invoice: quantity_not_whole")
        # What can be read of it counts; six POSTs are money and no units.
        self.assertEqual((rejection.units, rejection.total_minor), (2, 300 + 1800))

    def test_a_line_that_cannot_be_split_still_rejects_its_invoice(self):
        sheet = sheet_of(a_line("1"), '1,85123A,"HEART,6,12/1/2010 8:26,2.55,17850,UK\n')

        self.assertEqual(sheet.invoices, [])
        self.assertEqual(
            [row.reason for row in sheet.rejections[0].rows], ["invoice_rejected", "malformed_csv"]
        )

    def test_a_cancellation_takes_back_and_sells_nothing(self):
        sheet = sheet_of(
            a_line("C2", quantity="-1", at="12/2/2010 8:00"),
            a_line("C1", quantity="-3", price="1.50"),
            a_line("C1", code="D", quantity="-1", price="2"),
            a_line("c3", quantity="1"),
            a_line("C4", quantity="-2"),
            a_line("C4", quantity="-2", customer="1"),
        )

        self.assertEqual(sheet.invoices, [])
        first, second = sheet.cancellations
        self.assertEqual((first.number, first.customer, second.number), ("C1", "17850", "C2"))
        self.assertEqual([row.goods_units for row in first.rows], [-3, 0])
        self.assertEqual(
            [(each.number, each.rows[0].reason, each.units) for each in sheet.rejections],
            [("c3", "quantity_not_negative", 0), ("C4", "two_customers", -4)],
        )

    def test_a_part_of_a_cancellation_may_be_rejected(self):
        (cancellation,) = sheet_of(
            a_line("C1", quantity="-3", price="1.50"), a_line("C1", quantity="-2", price="1")
        ).cancellations

        rejection = cancellation.rejected_rows({1: cancellation.rows[1].rejected("why", "so")})

        self.assertEqual(
            (rejection.is_whole, rejection.units, rejection.total_minor), (False, -2, -200)
        )
        self.assertTrue(cancellation.rejected("why", "so").is_whole)

    def test_rejects_what_cannot_be_one_order(self):
        for reason, lines in (
            ("two_customers", [a_line("1", customer="1"), a_line("1", customer="2")]),
            ("too_many_lines", [a_line("1")] * 1001),
            ("quantity_not_positive", [a_line("1", code="D", quantity="-1")]),
        ):
            with self.subTest(reason):
                sheet = sheet_of(*lines)

                self.assertEqual(sheet.invoices, [])
                (rejection,) = sheet.rejections
                self.assertEqual({row.reason for row in rejection.rows}, {reason})
                self.assertEqual(len(rejection.rows), len(lines))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["1", "2", "3", "C4", "", "?!"]),
                st.sampled_from(["A", "B1", "POST", "d", ""]),
                st.sampled_from(["1", "2", "-1", "x"]),
                st.sampled_from(["1.25", "0", "-1", "0.333"]),
                st.sampled_from(["12/1/2010 8:26", "12/1/2010 8:27", "1/2/2010 0:00"]),
            ),
            max_size=12,
        )
    )
    def test_loses_no_row_and_invents_none(self, cells):
        lines = [
            a_line(invoice, code=code, quantity=quantity, price=price, at=at)
            for invoice, code, quantity, price, at in cells
        ]

        sheet = sheet_of(*lines)

        placed = [row.line for invoice in sheet.invoices for row in invoice.rows]
        rejected = [row.line for rejection in sheet.rejections for row in rejection.rows]
        cancelled = [row.line for each in sheet.cancellations for row in each.rows]
        self.assertEqual(sorted([*placed, *rejected, *cancelled]), list(range(2, len(lines) + 2)))
        numbers = [invoice.number for invoice in sheet.invoices]
        self.assertEqual(len(set(numbers)), len(numbers))
        self.assertTrue(set(numbers).isdisjoint(rejection.number for rejection in sheet.rejections))
        for invoice in sheet.invoices:
            draft = invoice.draft
            goods = sum(line.quantity * (line.unit_price_minor or 0) for line in draft.lines)
            charges = sum(charge.amount_minor for charge in draft.charges)
            self.assertEqual(goods + charges, invoice.total_minor)


class DraftTests(unittest.TestCase):
    def test_goods_are_lines_and_the_rest_is_charges(self):
        invoice = only_invoice(
            a_line("1", code="CUP", quantity="2", price="1.25", country="France"),
            a_line("1", code="POST", description="POSTAGE", quantity="3", price="18"),
            a_line("1", code="CUP", quantity="1", price="0", country="France"),
            a_line("1", code="D", description="Discount", quantity="-1", price="0.55"),
        )

        self.assertEqual(
            invoice.draft,
            OrderDraft(
                customer="17850",
                lines=(LineDraft("CUP", 2, 125), LineDraft("CUP", 1, 0)),
                reference="1",
                charges=(Charge("POST", "POSTAGE", 5400), Charge("D", "Discount", -55)),
                metadata={"country": "France"},
            ),
        )
        self.assertEqual((invoice.units, invoice.total_minor), (3, 250 + 5400 - 55))

    def test_charges_alone_are_lines(self):
        invoice = only_invoice(a_line("1", code="m", quantity="2", price="275.60", country=""))

        self.assertEqual(invoice.draft.lines, (LineDraft("M", 2, 27560),))
        self.assertEqual(invoice.draft.charges, ())
        self.assertIsNone(invoice.draft.metadata)
        self.assertEqual((invoice.units, invoice.total_minor), (0, 55120))


class CatalogueTests(unittest.TestCase):
    def setUp(self):
        self.invoices = sheet_of(
            a_line("1", code="CUP", description="CUP ", quantity="5", price="9"),
            a_line("2", code="CUP", description="MUG", quantity="1", price="2.10"),
            a_line("2", code="CUP", quantity="1", price="2.10"),
            a_line("2", code="POST", quantity="1", price="18"),
            a_line("3", code="BANK CHARGES", description="", quantity="1", price="15"),
            a_line("4", code="cup", description="cup", quantity="7", price="1"),
        ).invoices

    def test_takes_the_first_name_and_the_commonest_price(self):
        articles = [
            (article.code, article.name, article.price_minor, article.is_tracked)
            for article in list_articles(self.invoices)
        ]

        self.assertEqual(
            articles,
            [
                ("BANK_CHARGES", "BANK CHARGES", 1500, False),
                ("CUP", "CUP", 210, True),
                ("cup", "cup", 100, True),
            ],
        )

    def test_sums_the_units_of_goods_alone(self):
        self.assertEqual(units_sold(self.invoices), {"CUP": 7, "cup": 7})

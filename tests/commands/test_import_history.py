"""manage.py import_history"""

import json
import tempfile
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import TestCase

from events.models import Event
from orders.models import Order
from orders.usecases import Comeback, return_units
from rollout.codepath import override
from tests.builders import (
    a_change,
    discrepancies,
    given_account,
    given_stock,
    level_of,
    what_moved,
)


def a_past_order(reference="1", **more):
    return {
        "reference": reference,
        "status": "closed",
        "placed_at": "2024-02-03T10:00:00Z",
        "customer": "c-17",
        "currency": "EUR",
        "lines": [{"sku": "CUP", "quantity": 2, "unit_price_minor": 300}],
        **more,
    }


class ImportHistoryTests(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.file = self.folder / "past.ndjson"
        self.rejected = self.folder / "rejected.ndjson"
        given_account("shop")
        given_stock("CUP", on_hand=10, price_minor=250)

    def tearDown(self):
        self.assertEqual(discrepancies(), [])

    def run_import(self, *orders, options=()):
        lines = (one if isinstance(one, str) else json.dumps(one) for one in orders)
        self.file.write_text("".join(f"{line}\n" for line in lines))
        told = StringIO()
        call_command(
            *("import_history", str(self.file), "--account", "shop"),
            *("--rejected", str(self.rejected), *options),
            stdout=told,
        )
        return [" ".join(line.split()) for line in told.getvalue().splitlines()]

    def rejections(self):
        return [json.loads(line) for line in self.rejected.read_text().splitlines()]

    def test_keeps_what_became_of_orders_and_allocates_the_open_ones(self):
        gone = [{"sku": "GONE", "quantity": 1, "unit_price_minor": 0}]

        told = self.run_import(
            a_past_order("1", charges=[{"code": "post", "name": "Post", "amount_minor": 400}]),
            a_past_order("2", status="cancelled"),
            a_past_order("3", status="open"),
            a_past_order("4", lines=gone),
        )

        self.assertEqual(
            told,
            ["1 cancelled, imported now", "2 closed, imported now", "1 open, imported now"],
        )
        self.assertEqual(
            list(
                Order.objects.order_by("reference").values_list(
                    "reference", "status", "payment_status", "fulfillment_status", "total_minor"
                )
            ),
            [
                ("1", "closed", "paid", "fulfilled", 1000),
                ("2", "cancelled", "unpaid", "unfulfilled", 600),
                ("3", "placed", "unpaid", "unfulfilled", 600),
                ("4", "closed", "unpaid", "fulfilled", 0),
            ],
        )
        self.assertEqual((level_of("CUP").on_hand, level_of("CUP").allocated), (10, 2))
        first = Order.objects.get(reference="1")
        self.assertEqual(first.placed_at, datetime(2024, 2, 3, 10, 0, tzinfo=UTC))
        self.assertEqual(
            list(
                Event.objects.filter(aggregate_id=str(first.pk))
                .order_by("aggregate_version")
                .values_list("type", flat=True)
            ),
            ["order.placed", "order.paid", "order.fulfilled"],
        )

    def test_a_second_run_adds_nothing(self):
        orders = [a_past_order("1"), a_past_order("2", status="open"), a_past_order("3")]
        self.run_import(*orders[:2])
        before = what_moved()

        self.assertEqual(
            self.run_import(*orders[:2]), ["1 closed, imported before", "1 open, imported before"]
        )
        self.assertEqual(what_moved(), before)
        self.assertIn("1 closed, imported now", self.run_import(*orders))

    def test_rejects_a_line_and_goes_on(self):
        before = what_moved()

        self.run_import(
            "{",
            a_past_order("1", status="lost"),
            a_past_order("2", status="open", currency="GBP"),
            a_past_order("3", charges=[{"code": "d", "name": "D", "amount_minor": -601}]),
            a_past_order("4", lines=[]),
            a_past_order("a,b"),
        )

        self.assertEqual(
            [rejection["why"] for rejection in self.rejections()],
            [
                "malformed_json",
                "validation_failed",
                "other_currency",
                "total_out_of_range",
                "validation_failed",
                "idempotency_key_invalid",
            ],
        )
        self.assertEqual(json.loads(self.rejections()[1]["line"])["status"], "lost")
        self.assertEqual(what_moved(), before)

    def test_an_open_order_that_does_not_fit_is_rejected(self):
        many = [{"sku": "CUP", "quantity": 11, "unit_price_minor": 300}]

        self.run_import(a_past_order("1", status="open", lines=many))

        self.assertEqual(self.rejections()[0]["why"], "insufficient_stock")
        self.assertEqual(level_of("CUP").allocated, 0)

    def test_what_was_sent_long_ago_can_come_back(self):
        self.run_import(a_past_order("1"))

        return_units(
            a_change(Order.objects.get()), comebacks=[Comeback(0, 1, "restock", "main")], reason=""
        )

        self.assertEqual(level_of("CUP").on_hand, 11)

    def test_a_dry_run_keeps_nothing(self):
        before = what_moved()

        self.assertEqual(
            self.run_import(a_past_order("1"), options=("--dry-run",)), ["1 closed, readable"]
        )

        self.assertEqual(what_moved(), before)

    def test_refuses_what_it_cannot_do_in_one_line(self):
        with self.assertRaisesMessage(CommandError, "No account is called 'nobody'"):
            self.run_import(options=("--account", "nobody"))
        with self.assertRaisesMessage(CommandError, "No such file"):
            call_command("import_history", "/nowhere/file", "--account", "shop")

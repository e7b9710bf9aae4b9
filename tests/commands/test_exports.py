"""manage.py export_orders and export_movements."""

import csv
import json
import tempfile
from io import StringIO
from pathlib import Path

from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import TestCase

from inventory import exporting
from inventory.models import Movement
from inventory.usecases import receive_stock
from rollout.codepath import override
from tests.builders import NOON, TESTER, a_request, given_account, given_stock, place


class ExportTests(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.file = self.folder / "out"
        given_stock("CUP", on_hand=10)

    def export(self, command, *options):
        told = StringIO()
        call_command(command, str(self.file), *options, stdout=told)
        return told.getvalue(), self.file.read_text()

    def test_writes_the_orders_of_one_account_or_of_all(self):
        place(account=given_account())
        place(account=given_account("other"), customer="theirs")

        told, text = self.export("export_orders", "--format", "ndjson", "--account", "other")
        self.assertEqual([json.loads(line)["customer"] for line in text.splitlines()], ["theirs"])
        self.assertIn("1 orders written", told)
        _, text = self.export("export_orders")
        self.assertEqual(len(list(csv.reader(text.splitlines()))), 3)

    def test_writes_the_ledger_and_goes_on_after_a_movement(self):
        first = Movement.objects.get()
        receive_stock(
            request=a_request(),
            sku="CUP",
            quantity=3,
            reference="=1+1",
            provenance=TESTER,
            now=NOON,
        )

        told, text = self.export("export_movements")
        head, *rows = csv.reader(text.splitlines())
        self.assertEqual(tuple(head), exporting.COLUMNS)
        last = dict(zip(head, rows[-1], strict=True))
        self.assertEqual(len(rows), 2)
        self.assertEqual(
            [
                last[name]
                for name in ("sku", "location", "kind", "on_hand_after", "reference", "at")
            ],
            ["CUP", "main", "receive", "13", "'=1+1", "2026-05-04T12:00:00.000000Z"],
        )
        self.assertIn(f"the last is {last['id']}", told)
        _, text = self.export("export_movements", "--format", "ndjson", "--after", str(first.pk))
        (document,) = map(json.loads, text.splitlines())
        self.assertEqual((document["reference"], document["order_id"]), ("=1+1", None))
        self.assertEqual(tuple(document), exporting.COLUMNS)

    def test_refuses_what_it_cannot_do_in_one_line(self):
        for options, message in (
            ((str(self.file), "--account", "nobody"), "No account is called 'nobody'"),
            (("/nowhere/file",), "No such file"),
        ):
            with self.subTest(message), self.assertRaisesMessage(CommandError, message):
                call_command("export_orders", *options)

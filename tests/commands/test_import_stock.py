"""manage.py import_stock and run_imports."""

import tempfile
from io import StringIO
from pathlib import Path

from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import TestCase

from inventory.models import StockImport
from inventory.usecases import start_import
from tests.builders import NOON, TESTER, level_of, what_moved

HEAD = "sku,name,price_minor,currency,receive\n"


class ImportStockTests(TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.file = self.folder / "goods.csv"
        self.file.write_text(HEAD + "CUP,Cup,250,EUR,5\nBAD,,,,1\n")
        self.rejected = self.folder / "rejected.csv"

    def run_import(self, *options):
        told = StringIO()
        call_command(
            "import_stock", str(self.file), "--rejected", str(self.rejected), *options, stdout=told
        )
        return told.getvalue()

    def test_imports_a_file_once_and_writes_down_what_was_rejected(self):
        told = self.run_import("--actor", "ann")

        self.assertIn("Imported: 2 rows, 1 with changes, 1 rejected", told)
        self.assertEqual(level_of("CUP").on_hand, 5)
        self.assertIn("3,sku_incomplete,", self.rejected.read_text())
        before = what_moved()
        self.assertIn("Imported before: 2 rows", self.run_import())
        self.assertEqual(what_moved(), before)
        self.run_import("--again")
        self.assertEqual(level_of("CUP").on_hand, 10)

    def test_a_dry_run_changes_nothing(self):
        before = what_moved()

        self.assertIn("Tried: 2 rows, 1 with changes, 1 rejected", self.run_import("--dry-run"))

        self.assertEqual(what_moved(), before)

    def test_refuses_in_one_line_what_it_cannot_read(self):
        for content, message in (
            (b"a,b\n", "does not name the column sku"),
            (None, "No such file"),
        ):
            self.file.unlink() if content is None else self.file.write_bytes(content)
            with self.subTest(message), self.assertRaisesMessage(CommandError, message):
                self.run_import()
        self.assertFalse(StockImport.objects.exists())

    def test_uploaded_files_are_worked_off_oldest_first(self):
        for name, units in (("a.csv", 5), ("b.csv", 7)):
            content = f"{HEAD}CUP,Cup,250,EUR,{units}\n".encode()
            start_import(name=name, content=content, provenance=TESTER, now=NOON)
        told = StringIO()

        call_command("run_imports", stdout=told)

        self.assertEqual(told.getvalue(), "a.csv: 1 of 1 rows\nb.csv: 1 of 1 rows\n")
        self.assertEqual(level_of("CUP").on_hand, 12)

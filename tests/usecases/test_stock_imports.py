"""SKUs and stock from a file."""

from unittest.mock import patch

from django.test import TestCase

from inventory import stockimports, usecases
from inventory.models import Movement, Sku, StockImport, StockImportRow
from inventory.usecases import ImportNotFound, NotAStockFile
from tests.builders import (
    NOON,
    TESTER,
    discrepancies,
    given_location,
    given_sku,
    given_stock,
    level_of,
    what_moved,
)

HEAD = "sku,name,price_minor,currency,is_tracked,location,receive,on_hand,reference"


def start(*lines, head=HEAD, **more):
    content = "\n".join([head, *lines]).encode()
    return usecases.start_import(
        name="goods.csv", content=content, provenance=TESTER, now=NOON, **more
    )


def run(started):
    *_, done = usecases.run_import(started.pk, now=NOON)
    return done


def outcomes(done):
    rows, _ = usecases.list_import_rows(done.pk, limit=1000)
    return [(row.line, row.outcome, row.why or row.on_hand_change) for row in rows]


class StockImportTests(TestCase):
    def tearDown(self):
        self.assertEqual(discrepancies(), [])

    def test_adds_skus_changes_them_and_moves_their_stock(self):
        given_stock("CUP", on_hand=10, price_minor=100)
        given_location("north")

        done = run(
            start(
                "CUP,,250,,,,5,,delivery 7",
                "CUP,,,,,,,15,",
                "TRAY,Tray,900,EUR,,north,,8,",
                "TRAY,Tray,900,EUR,,main,2,,",
                "WRAP,Gift wrap,300,EUR,false,,,,",
                "CUP,,250,,,,,,",
            )
        )

        self.assertEqual(
            outcomes(done),
            [
                (2, "changed", 5),
                (3, "unchanged", 0),
                (4, "added", 8),
                (5, "moved", 2),
                (6, "added", 0),
                (7, "unchanged", 0),
            ],
        )
        self.assertEqual(Sku.objects.get(code="CUP").price_minor, 250)
        self.assertEqual((level_of("CUP").on_hand, level_of("TRAY").on_hand), (15, 2))
        self.assertFalse(Sku.objects.get(code="WRAP").is_tracked)
        movement = Movement.objects.get(level__sku__code="CUP", reference="delivery 7")
        self.assertEqual(
            (movement.kind, movement.source, movement.actor), ("receive", "import", "tester")
        )
        self.assertEqual(movement.note, "line 2 of goods.csv")
        counted = Movement.objects.get(kind="count")
        self.assertEqual((counted.on_hand_change, counted.level.location.code), (8, "north"))
        self.assertEqual((done.rows, done.rows_changed, done.rows_rejected), (6, 4, 0))
        self.assertEqual((done.status, done.finished_at), ("done", NOON))

    def test_a_row_is_done_whole_or_rejected_and_harms_no_other(self):
        given_stock("CUP", on_hand=10, price_minor=100)
        given_sku("WRAP", is_tracked=False)
        before = what_moved()
        done = run(
            start(
                "NEW,,,,,,5,,",
                "CUP,Mug,,,,nowhere,5,,",
                "CUP,Mug,,,false,,,,",
                "WRAP,,,,,,1,,",
                "CUP,Mug,,,,,1000000000000,,",
                "CUP,Mug,x,,,,,,",
                "LATE,Late,1,EUR,,nowhere,1,,",
            )
        )

        self.assertEqual(
            [row[1:] for row in outcomes(done)],
            [
                ("rejected", "sku_incomplete"),
                ("rejected", "location_not_found"),
                ("rejected", "is_tracked_fixed"),
                ("rejected", "sku_untracked"),
                ("rejected", "stock_above_limit"),
                ("rejected", "bad_price"),
                ("rejected", "location_not_found"),
            ],
        )
        self.assertEqual(what_moved(), before)
        self.assertEqual(Sku.objects.count(), 2)
        self.assertEqual(Sku.objects.get(code="CUP").name, "Cup")

    def test_a_trial_tells_the_same_and_changes_nothing(self):
        given_stock("CUP", on_hand=10)
        lines = ["CUP,,,,,,5,,", "NEW,New,1,EUR,,,1,,", "NEW,,,,,,2,,", "BAD,,,,,,,1,"]
        before = what_moved()

        with patch.object(stockimports, "BLOCK_ROWS", 1):
            trial = run(start(*lines, is_dry_run=True))

        self.assertEqual(what_moved(), before)
        self.assertFalse(Sku.objects.filter(code="NEW").exists())
        applied = usecases.apply_import(trial.pk, provenance=TESTER, now=NOON)
        self.assertEqual(outcomes(run(applied)), outcomes(trial))
        self.assertEqual((level_of("CUP").on_hand, level_of("NEW").on_hand), (15, 3))

    def test_goes_on_where_it_was_stopped(self):
        lines = [f"SKU-{n},Name,1,EUR,,,1,," for n in range(5)]
        started = start(*lines)
        with patch.object(stockimports, "BLOCK_ROWS", 2):
            first = next(usecases.run_import(started.pk, now=NOON))
            self.assertEqual((first.status, first.rows_done, first.rows), ("running", 2, 5))
            # Whoever sends the file again gets the import that there is.
            self.assertEqual(start(*lines).pk, started.pk)
            progress = [moved_on.rows_done for moved_on in usecases.run_imports(now=NOON)]

        self.assertEqual(progress, [4, 5])
        self.assertEqual(Movement.objects.count(), 5)
        self.assertEqual(list(usecases.run_imports(now=NOON)), [])

    def test_one_file_is_one_import_unless_another_is_asked_for(self):
        lines = ["CUP,Cup,1,EUR,,,5,,"]
        first = run(start(*lines))
        before = what_moved()

        again = run(start(*lines))

        self.assertEqual((again.pk, what_moved()), (first.pk, before))
        other = run(start(*lines, is_again=True))
        self.assertNotEqual(other.pk, first.pk)
        self.assertEqual(level_of("CUP").on_hand, 10)

    def test_refuses_a_file_that_is_none_and_keeps_nothing(self):
        with self.assertRaises(NotAStockFile):
            start("CUP", head="article")
        with self.assertRaises(ImportNotFound):
            usecases.get_import(stockimports.uuid7())

        self.assertFalse(StockImport.objects.exists())

    def test_rejected_rows_are_a_file_that_can_be_mended(self):
        done = run(start("=1+1,,,,,,,,", "CUP,Cup,1,EUR,,,five,,"))

        told = "".join(usecases.list_rejected_lines(done.pk))

        self.assertEqual(
            told.splitlines(),
            [
                f"line,why,detail,{HEAD}",
                "2,bad_sku,not a code of a SKU: '=1+1','=1+1,,,,,,,,",
                "3,bad_units,receive: 'five' is no whole number,CUP,Cup,1,EUR,,,five,,",
            ],
        )
        mended = usecases.start_import(
            name="mended.csv",
            content=told.replace(",five,", ",5,").encode(),
            provenance=TESTER,
            now=NOON,
        )
        self.assertEqual([row[1] for row in outcomes(run(mended))], ["rejected", "added"])

    def test_pages_of_imports_and_rows_go_on_where_they_ended(self):
        first = run(start("A,,,,,,,,", "B,,,,,,,,", "C,,,,,,,,"))
        second = start("D,,,,,,,,")

        newest, before_id = usecases.list_imports(limit=1)
        older, end = usecases.list_imports(before_id=before_id, limit=1)
        self.assertEqual([newest[0].pk, older[0].pk, end], [second.pk, first.pk, None])
        rows, after_line = usecases.list_import_rows(first.pk, is_rejected=True, limit=2)
        self.assertEqual(([row.line for row in rows], after_line), ([2, 3], 3))
        rows, after_line = usecases.list_import_rows(first.pk, after_line=3, limit=2)
        self.assertEqual(([row.line for row in rows], after_line), ([4], None))
        self.assertEqual(StockImportRow.objects.count(), 3)

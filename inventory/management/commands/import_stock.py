"""Import SKUs and stock from a CSV file."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from tqdm import tqdm  # type: ignore[import-untyped]  # It has no types of its own.

from config.errors import AppError
from events.usecases import EventsError
from inventory import usecases
from inventory.models import StockImport
from inventory.usecases import Provenance


class Command(BaseCommand):
    help = (
        "Import SKUs and stock from a CSV file, each row once: run again, it goes on where it was "
        "stopped. Rows that cannot be imported go to a file, with the reason: see docs/import.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument(
            "--dry-run", action="store_true", help="tell what would become of it, change nothing"
        )
        parser.add_argument(
            "--again", action="store_true", help="import a file once more that was imported before"
        )
        parser.add_argument("--actor", default="import_stock", help="who does it, for the ledger")
        parser.add_argument(
            "--rejected",
            type=Path,
            metavar="FILE",
            help="where rejected rows go (default: NAME.rejected.csv in the current folder)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        rejected_path: Path = options["rejected"] or Path(f"{path.stem}.rejected.csv")
        if rejected_path.exists() and rejected_path.samefile(path):
            raise CommandError(f"{path} is the file to read: name another with --rejected.")
        try:
            started = usecases.start_import(
                name=path.name,
                content=path.read_bytes(),
                provenance=Provenance(actor=options["actor"], source="command"),
                now=timezone.now(),
                is_dry_run=options["dry_run"],
                is_again=options["again"],
            )
            done = self._work_off(started)
            self._tell(done, rejected_path, was_done=started.finished_at is not None)
        except OSError as failure:
            raise CommandError(f"{failure.filename}: {failure.strerror}") from failure
        except (AppError, EventsError) as refusal:
            again = " Nothing is lost: run it again." if refusal.retryable else ""
            raise CommandError(f"{refusal}{again}") from refusal

    def _work_off(self, started: StockImport) -> StockImport:
        moved_on = started
        is_bar = sys.stderr.isatty()
        with tqdm(initial=started.rows_done, unit=" rows", disable=not is_bar) as bar:
            for moved_on in usecases.run_import(started.pk, now=timezone.now()):
                bar.total = moved_on.rows
                bar.update(moved_on.rows_done - bar.n)
        return moved_on

    def _tell(self, done: StockImport, rejected_path: Path, *, was_done: bool) -> None:
        what = "Tried" if done.is_dry_run else "Imported before" if was_done else "Imported"
        self.stdout.write(
            f"{what}: {done.rows_done:,} rows, {done.rows_changed:,} with changes, "
            f"{done.rows_rejected:,} rejected"
        )
        if done.rows_rejected:
            with rejected_path.open("w", encoding="utf-8", newline="") as file:
                file.writelines(usecases.list_rejected_lines(done.pk))
            self.stdout.write(f"Rejected rows are in {rejected_path}")

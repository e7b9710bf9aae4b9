"""Write the ledger to a file."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm  # type: ignore[import-untyped]  # It has no types of its own.

from inventory.usecases import export_movements


class Command(BaseCommand):
    help = "Write every movement of stock to a file, first to last, as CSV or as NDJSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--format", choices=("csv", "ndjson"), default="csv")
        parser.add_argument(
            "--after", type=int, default=0, metavar="ID", help="only what came after this movement"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        written, last_id = 0, options["after"]
        try:
            with (
                options["file"].open("wb") as file,
                tqdm(unit=" movements", disable=not sys.stderr.isatty()) as bar,
            ):
                blocks = export_movements(file, form=options["format"], after_id=last_id)
                for count, last in blocks:
                    written, last_id = written + count, last
                    bar.update(count)
        except OSError as failure:
            raise CommandError(f"{options['file']}: {failure.strerror}") from failure
        self.stdout.write(f"{written:,} movements are in {options['file']}, the last is {last_id}")

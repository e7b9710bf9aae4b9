"""Write orders to a file."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm  # type: ignore[import-untyped]  # It has no types of its own.

from orders.usecases import ExportFilter, export_orders


class Command(BaseCommand):
    help = "Write orders to a file, as CSV with a line for each of their lines, or as NDJSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--format", choices=("csv", "ndjson"), default="csv")
        parser.add_argument("--account", metavar="NAME", help="only this account's")

    def handle(self, *args: Any, **options: Any) -> None:
        where = ExportFilter(_account_id(options["account"]))
        written = 0
        try:
            with (
                options["file"].open("wb") as file,
                tqdm(unit=" orders", disable=not sys.stderr.isatty()) as bar,
            ):
                for count, _ in export_orders(file, form=options["format"], where=where):
                    written += count
                    bar.update(count)
        except OSError as failure:
            raise CommandError(f"{options['file']}: {failure.strerror}") from failure
        self.stdout.write(f"{written:,} orders written to {options['file']}")


def _account_id(name: str | None) -> int | None:
    if name is None:
        return None
    users = get_user_model()._default_manager
    account_id: int | None = users.filter(username=name).values_list("pk", flat=True).first()
    if account_id is None:
        raise CommandError(f"No account is called {name!r}.")
    return account_id

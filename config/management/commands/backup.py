"""Save the database."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.dumps import CannotDump, save


class Command(BaseCommand):
    """May run while orders are taken: the file holds one moment, that of its beginning."""

    help = "Write the whole database to a new file, from which restore makes it again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the file."""
        parser.add_argument("file", type=Path)

    def handle(self, *_: Any, **options: Any) -> None:
        """Save."""
        file = options["file"]
        try:
            save(file)
        except CannotDump as reason:
            raise CommandError(str(reason)) from None
        self.stdout.write(f"{file}: {file.stat().st_size:,} bytes. It holds secrets: keep it safe.")

"""Check that the books balance."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orders.reconciliation import CHECKS, find_discrepancies


class Command(BaseCommand):
    help = "Compare ledger, counters, allocations, lines, money and keys; exit 1 if they differ."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--quiet", action="store_true", help="print discrepancies only, not the checks"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        found = 0
        for discrepancy in find_discrepancies():
            found += 1
            self.stdout.write(f"{discrepancy.check}: {discrepancy.subject}: {discrepancy.found}")
        if found:
            raise CommandError(f"{found} discrepancies", returncode=1)
        if not options["quiet"]:
            self.stdout.write(f"{len(CHECKS)} checks, 0 discrepancies")

"""Check that the books balance."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils import timezone

from orders.reconciliation import CHECKS, find_discrepancies, keep_result


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
        try:
            keep_result(found, now=timezone.now())
        except DatabaseError as failure:
            # On a replica, or by a role that may only read: what was found is told all the same.
            self.stderr.write(f"the result is not kept: {failure}")
        if found:
            raise CommandError(f"{found} discrepancies", returncode=1)
        if not options["quiet"]:
            self.stdout.write(f"{len(CHECKS)} checks, 0 discrepancies")

"""Forget what nobody needs any more."""

import logging
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection

from config.housekeeping import forget, list_subjects

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Delete what was kept for long enough; several may run at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would go")
        parser.add_argument(
            "--every",
            type=float,
            metavar="SECONDS",
            help="go on for ever, with a pause of so many seconds",
        )

    def handle(self, *args: Any, every: float | None = None, **options: Any) -> None:
        if every is None:
            try:
                self._clean(is_dry_run=options["dry_run"], stop=threading.Event())
            except OperationalError as trouble:
                raise CommandError(str(trouble)) from trouble
            return
        stop = threading.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.set())
        while not stop.is_set():
            try:
                self._clean(is_dry_run=options["dry_run"], stop=stop)
            except OperationalError as trouble:
                # The next turn finds what this one did not do.
                logger.warning("housekeeping failed: %s", trouble)
                connection.close()
            stop.wait(every)

    def _clean(self, *, is_dry_run: bool, stop: threading.Event) -> None:
        would_be = "would be " if is_dry_run else ""
        for subject in list_subjects():
            if stop.is_set():
                return
            count = forget(subject, is_dry_run=is_dry_run)
            self.stdout.write(f"{subject.name}: {count} {would_be}deleted")

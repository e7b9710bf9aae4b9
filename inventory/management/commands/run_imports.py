"""Work off the files of SKUs and stock that people have uploaded."""

import logging
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from events.usecases import EventsError
from inventory.usecases import run_imports

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Work off the imports that wait, oldest first; several may run at once, they take turns."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--every",
            type=float,
            metavar="SECONDS",
            help="go on for ever, with a pause of so many seconds",
        )

    def handle(self, *args: Any, every: float | None = None, **options: Any) -> None:
        stop = threading.Event()
        if every is None:
            self._work_off(stop)
            return
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.set())
        while not stop.is_set():
            try:
                self._work_off(stop)
            except EventsError as trouble:
                # The next round goes on where this one stopped.
                logger.warning("an import was interrupted: %s", trouble)
            stop.wait(every)

    def _work_off(self, stop: threading.Event) -> None:
        for moved_on in run_imports(now=timezone.now()):
            self.stdout.write(f"{moved_on.name}: {moved_on.rows_done:,} of {moved_on.rows:,} rows")
            if stop.is_set():
                return

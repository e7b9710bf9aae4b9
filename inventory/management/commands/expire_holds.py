"""Write down which holds have expired."""

import logging
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from events.usecases import OutcomeUnknown, TemporarilyUnavailable
from inventory.usecases import Provenance, expire_holds

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Give back what expired holds still keep, and tell of them; several may run at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--every",
            type=float,
            metavar="SECONDS",
            help="go on for ever, with a pause of so many seconds",
        )

    def handle(self, *args: Any, every: float | None = None, **options: Any) -> None:
        if every is None:
            self.stdout.write(f"{_sweep()} holds expired")
            return
        stop = threading.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.set())
        while not stop.is_set():
            try:
                expired = _sweep()
            except (TemporarilyUnavailable, OutcomeUnknown) as trouble:
                # The next sweep finds what this one did not do.
                logger.warning("sweep for expired holds failed: %s", trouble)
            else:
                if expired:
                    self.stdout.write(f"{expired} holds expired")
            stop.wait(every)


def _sweep() -> int:
    provenance = Provenance(actor="expire_holds", source="command")
    expired = 0
    while batch := expire_holds(provenance=provenance, now=timezone.now()):
        expired += batch
    return expired

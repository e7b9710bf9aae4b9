"""Expire the orders that nobody paid for in time."""

import logging
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from events.usecases import OutcomeUnknown, TemporarilyUnavailable
from inventory.usecases import Provenance
from orders.usecases import expire_orders

logger = logging.getLogger(__name__)

ORDERS_AT_ONCE = 100


class Command(BaseCommand):
    help = "Expire orders whose time to pay is over; several may run at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--every",
            type=float,
            metavar="SECONDS",
            help="go on for ever, with a pause of so many seconds",
        )

    def handle(self, *args: Any, every: float | None = None, **options: Any) -> None:
        if every is not None:
            self._go_on(every)
            return
        try:
            self.stdout.write(f"{_sweep()} orders expired")
        except (TemporarilyUnavailable, OutcomeUnknown) as trouble:
            raise CommandError(str(trouble)) from trouble

    def _go_on(self, pause_s: float) -> None:
        """Sweep until somebody ends this; a sweep under way is finished."""
        stop = threading.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.set())
        while not stop.is_set():
            try:
                if expired := _sweep():
                    self.stdout.write(f"{expired} orders expired")
            except (TemporarilyUnavailable, OutcomeUnknown) as trouble:
                # The next sweep finds what this one did not do.
                logger.warning("sweep for unpaid orders failed: %s", trouble)
            stop.wait(pause_s)


def _sweep() -> int:
    provenance = Provenance(actor="expire_orders", source="command")
    expired = 0
    while True:
        batch = expire_orders(provenance=provenance, now=timezone.now(), limit=ORDERS_AT_ONCE)
        expired += batch
        if batch < ORDERS_AT_ONCE:
            return expired

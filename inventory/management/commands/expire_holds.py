"""Write down which holds have expired."""

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection
from django.utils import timezone

from events.usecases import TemporarilyUnavailable
from inventory.usecases import Provenance, expire_holds


class Command(BaseCommand):
    help = (
        "Give back what expired holds still keep and tell of them. Any number of these may run; "
        "nothing waits for one: an order that is short looks for itself."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--every",
            type=int,
            metavar="SECONDS",
            help="go on, with this pause, until told to stop (SIGTERM, SIGINT)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        every = options["every"]
        if every is None:
            self._sweep()
            return
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            try:
                self._sweep()
            except TemporarilyUnavailable as trouble:
                # Whatever ails the database, the next round is soon.
                self.stderr.write(str(trouble))
            connection.close()
            stop.wait(every)

    def _sweep(self) -> None:
        provenance = Provenance(actor="", source="command")
        expired = 0
        while found := expire_holds(provenance=provenance, now=timezone.now()):
            expired += found
        if expired:
            self.stdout.write(f"{expired} holds expired")

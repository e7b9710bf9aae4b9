"""Bring what happened to whoever wants to know."""

import signal
from argparse import ArgumentParser
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils.module_loading import import_string
from prometheus_client import start_http_server

from events.relay import Relay
from events.retries import DELAYS_S
from events.sinks import make_sinks


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT. Any number may run at once, on any machine."""

    help = "Deliver events to webhooks and sinks, until told to stop. Run two or more."
    # They would load every page of the project; `manage.py check` makes them.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the port of the metrics."""
        parser.add_argument(
            "--metrics-port", type=int, default=0, help="serve /metrics there, on 127.0.0.1"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Relay."""
        relay = Relay(
            make_sinks(settings.EVENTS_SINKS),
            delays_s=getattr(settings, "EVENTS_RETRY_DELAYS_S", DELAYS_S),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: relay.stop())
        if options["metrics_port"]:
            start_http_server(options["metrics_port"], addr="127.0.0.1")
        self.stdout.write("relaying")
        self.stdout.flush()
        with _surroundings():
            relay.run()


def _surroundings() -> AbstractContextManager[object]:
    """Return what the project has every relay work within: it knows of telemetry, events not."""
    within = getattr(settings, "EVENTS_RELAY_WITHIN", "")
    made: AbstractContextManager[object] = import_string(within)() if within else nullcontext()
    return made

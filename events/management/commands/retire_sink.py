"""Take a sink away for good."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from events.retiring import SinkNotRetired, retire_sink


class Command(BaseCommand):
    """For a sink that is no longer in the settings of any relay."""

    help = "Forget a sink that no settings name any more, with all that waits for it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the name."""
        parser.add_argument("name")

    def handle(self, *_: Any, name: str, **options: Any) -> None:
        """Forget it."""
        try:
            dropped = retire_sink(name)
        except SinkNotRetired as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(f"{name} is forgotten, and {dropped} events that waited for it")

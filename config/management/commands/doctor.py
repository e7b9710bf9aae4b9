"""Is anything wrong here?"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.doctor import examine


class Command(BaseCommand):
    """Only looks, and needs no server that runs. Exit code 1 when something fails."""

    help = "Look at database, Redis, relay, settings and limits; tell each in one line."
    requires_system_checks = []

    def handle(self, *_: Any, **__: Any) -> None:
        """Tell."""
        failed = 0
        for finding in examine():
            failed += finding.level == "fail"
            self.stdout.write(f"{finding.level:<4}  {finding.subject:<11}  {finding.text}")
        if failed:
            raise CommandError(f"{failed} of these fail", returncode=1)

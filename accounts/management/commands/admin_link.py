"""Print a link that logs a person into the admin once."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse
from django.utils import timezone

from accounts import storage, usecases


class Command(BaseCommand):
    """Make a one-time login link."""

    help = "Print the path of a page that logs a person into the admin, once, within 10 minutes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--user", required=True, help="whom the link logs in")
        parser.add_argument(
            "--create-superuser", action="store_true", help="make the user if missing"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the link."""
        name = options["user"]
        user = storage.find_user(name)
        if user is None:
            if not options["create_superuser"]:
                raise CommandError(f"No user is called {name!r}; --create-superuser makes one.")
            # No password: until one is set, such links are the only way in.
            user = get_user_model()._default_manager.create_superuser(name)
        try:
            token = usecases.make_login_link(user=user, now=timezone.now())
        except usecases.NotStaff as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(reverse("accounts:login-once", args=[token]))
        self.stderr.write(f"Logs {name} in, once, within 10 minutes.")

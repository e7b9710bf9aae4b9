"""Print a new API key once."""

from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from accounts import storage, usecases


class Command(BaseCommand):
    """Give an account a new API key."""

    help = "Print a new API key of a user. The key alone goes to stdout, everything else to stderr."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--user", required=True, help="the account: a user's name")
        parser.add_argument("--create-user", action="store_true", help="make the user if missing")
        parser.add_argument("--name", default="command line", help="what the key is for")
        scopes = parser.add_mutually_exclusive_group(required=True)
        scopes.add_argument("--scope", action="append", metavar="SCOPE", help="may be repeated")
        scopes.add_argument("--all-scopes", action="store_true")
        parser.add_argument(
            "--calls-per-s", type=int, metavar="N", help="default: what the setting says"
        )
        parser.add_argument("--expires-in-days", type=int, metavar="N", help="default: never")

    def handle(self, *args: Any, **options: Any) -> None:
        """Issue the key."""
        now = timezone.now()
        if options["calls_per_s"] is not None and options["calls_per_s"] < 1:
            raise CommandError(f"--calls-per-s {options['calls_per_s']}: 1 or more")
        expires_at = _expiry(options["expires_in_days"], now)
        try:
            with transaction.atomic():  # A refused key leaves no new user behind.
                issued = usecases.issue_key(
                    user=_get_user(options["user"], may_create=options["create_user"]),
                    name=options["name"],
                    scopes=["*"] if options["all_scopes"] else options["scope"],
                    expires_at=expires_at,
                    calls_per_s=options["calls_per_s"],
                    now=now,
                )
        except usecases.UnknownScope as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(issued.text)
        self.stderr.write(
            f"Key {issued.key.prefix} of {options['user']}; it is not shown again.\n"
            f"Scopes: {', '.join(issued.key.scopes)}. "
            f"Expires: {issued.key.expires_at or 'never'}."
        )


def _get_user(name: str, *, may_create: bool) -> User:
    user = storage.find_user(name)
    if user is None and may_create:
        # No password: a program calls by its key and never logs in.
        return get_user_model()._default_manager.create_user(name)
    if user is None:
        raise CommandError(f"No user is called {name!r}; --create-user makes one.")
    if not user.is_active:
        raise CommandError(f"The user {name!r} is not active: its keys open nothing.")
    return user


def _expiry(days: int | None, now: datetime) -> datetime | None:
    if days is None:
        return None
    if days < 1:
        raise CommandError(f"--expires-in-days {days}: 1 or more")
    return now + timedelta(days=days)

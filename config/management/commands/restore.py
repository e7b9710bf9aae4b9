"""Make the database again from a file."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.utils.module_loading import import_string

from config import dumps

NEXT = "Empty Redis (redis-cli FLUSHDB), then start workers and relays."


class Command(BaseCommand):
    """Restores all or nothing, brings tables up to date, and checks that the books balance."""

    help = "Restore a file of backup into an empty database."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the file, and whether what is there may go."""
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--replace", action="store_true", help="drop all that is in the database first"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Restore."""
        file = options["file"].absolute()
        try:
            self._make_room(file, is_replacing=options["replace"])
            dumps.load(file)
        except dumps.CannotDump as reason:
            raise CommandError(str(reason)) from None
        connection.close()
        if newer := _unknown_migrations():
            raise CommandError(
                f"restored, but by a newer release than this ({newer[0]}): go on with that one"
            )
        call_command("migrate", verbosity=0, interactive=False)
        # By its name: config knows no app.
        import_string("events.feed.continue_feed")()
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        call_command("reconcile", stdout=self.stdout)
        self.stdout.write(f"restored from {file}. {NEXT}")

    def _make_room(self, file: Path, *, is_replacing: bool) -> None:
        # Before anything is dropped.
        dumps.check_restorable(file)
        if sessions := dumps.sessions_of_ours():
            raise CommandError(
                f"workers or relays have {sessions} sessions in this database: stop them first"
            )
        if found := dumps.tables():
            if not is_replacing:
                raise CommandError(
                    f"the database is not empty: --replace drops its {len(found)} tables"
                )
            dumps.drop_all()


def _unknown_migrations() -> list[str]:
    loader = MigrationLoader(connection)
    known_apps = {app for app, _ in loader.disk_migrations}
    return sorted(
        f"{app}.{name}"
        for app, name in loader.applied_migrations
        if app in known_apps and (app, name) not in loader.disk_migrations
    )

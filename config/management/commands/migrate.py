"""Django's migrate, one at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.commands.migrate import Command as DjangoMigrate
from django.db import connections

# Any number will do, as long as it is the same for every instance and release.
MIGRATION_LOCK = 7_583_001


class Command(DjangoMigrate):
    """Migrate while nobody else does: replicas that start together find the work done."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Wait for our turn, then do as Django does."""
        if options["plan"] or options["check_unapplied"]:
            super().handle(*args, **options)
            return
        with self._turn(options["database"], quietly=options["verbosity"] == 0):
            super().handle(*args, **options)

    @contextmanager
    def _turn(self, alias: str, *, quietly: bool) -> Iterator[None]:
        # A connection of its own, for some migrations leave theirs. A lock of the transaction, not
        # of the session: a session behind PgBouncer is not ours to keep.
        own = connections[alias].copy()
        try:
            own.ensure_connection()
            own.set_autocommit(False)
            with own.cursor() as cursor:
                for timeout in ("statement", "lock", "idle_in_transaction_session"):
                    cursor.execute(f"SET LOCAL {timeout}_timeout = 0")
                cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [MIGRATION_LOCK])
                if cursor.fetchone() != (True,):
                    if not quietly:
                        self.stdout.write("Waiting for another migrate to end.")
                    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
            yield
        finally:
            own.close()

"""One migrate at a time."""

import threading
from io import StringIO

from django.core.management import call_command
from django.db import connection
from django.test import TestCase

from config.management.commands.migrate import MIGRATION_LOCK


class MigrateTests(TestCase):
    def test_waits_for_the_one_that_runs(self) -> None:
        said = StringIO()
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        migrate = threading.Thread(target=self._migrate, args=[said])
        migrate.start()
        self._wait_until_somebody_waits()

        assert said.getvalue() == "Waiting for another migrate to end.\n"
        assert migrate.is_alive()
        other.close()
        migrate.join(20)
        assert "No migrations to apply." in said.getvalue()

    def test_plans_without_waiting(self) -> None:
        said = StringIO()
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])

        call_command("migrate", "--plan", stdout=said)

        assert "No planned migration operations." in said.getvalue()
        other.close()

    def _migrate(self, said: StringIO) -> None:
        call_command("migrate", verbosity=1, stdout=said)
        connection.close()

    def _wait_until_somebody_waits(self) -> None:
        for _ in range(200):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid"
                    " WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
                )
                if cursor.fetchone() == (1,):
                    return
            threading.Event().wait(0.05)
        raise AssertionError("nobody waits")

"""For tests that need real commits: they clean up after themselves, the ledger included."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection, transaction
from django.test import TransactionTestCase

# What tests fill. What migrations put in (the main location, the roles) stays.
FILLED_TABLES = (
    "events_event, events_outbox, events_lane, events_delivery, events_idempotencykey, "
    "inventory_allocation, inventory_hold, inventory_holdline, inventory_movement, "
    "inventory_stocklevel, inventory_sku, inventory_stocktake, "
    "inventory_stockimport, inventory_stockimportrow, "
    "orders_line, orders_order, orders_reconciliation, orders_erasure, auth_user"
)


class CommittedTestCase(TransactionTestCase):
    """
    A test whose transactions are real.

    Django's own empties every table by TRUNCATE, which the ledger refuses, and takes the rows of
    migrations with it.
    """

    @contextmanager
    def a_session(self) -> Iterator[psycopg.Connection]:
        """Lend a session of its own; what it does not commit ends without a trace."""
        names = ("host", "port", "dbname", "user", "password")
        ours = connection.get_connection_params()
        with psycopg.connect(**{name: ours[name] for name in names if name in ours}) as theirs:
            yield theirs
            theirs.rollback()

    @contextmanager
    def somebody_doing(self, statement: str) -> Iterator[None]:
        """Have another session in a transaction, which ends without a trace."""
        with self.a_session() as theirs:
            theirs.execute(statement)
            yield

    def wait_for_one_who_waits(self) -> None:
        """Wait until somebody waits for a lock."""
        with connection.cursor() as cursor:
            for _ in range(500):
                cursor.execute("SELECT pg_sleep(0.01), count(*) FROM pg_locks WHERE NOT granted")
                if cursor.fetchone()[1]:
                    return
        self.fail("nobody waits")

    def _fixture_teardown(self) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            # A failed test may have left a transaction open: that is an error, not a wait for ever.
            cursor.execute("SET LOCAL lock_timeout = '20s'")
            cursor.execute("ALTER TABLE inventory_movement DISABLE TRIGGER USER")
            cursor.execute(f"TRUNCATE {FILLED_TABLES} CASCADE")
            cursor.execute("ALTER TABLE inventory_movement ENABLE TRIGGER USER")
            cursor.execute("DELETE FROM inventory_location WHERE code <> 'main'")
            # It may have been closed: nobody after that would find anything in stock.
            cursor.execute(
                "UPDATE inventory_location SET name = 'Main', priority = 0, is_active = true"
            )

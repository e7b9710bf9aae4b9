"""For tests that need real commits: they clean up after themselves, the ledger included."""

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

"""The statements that the server prepares."""

import psycopg
from django.db import connection
from django.test import TestCase

import events.storage
import inventory.holdstore
import inventory.storage
import orders.storage

STATEMENTS = [
    *events.storage.HOT_STATEMENTS,
    *inventory.holdstore.HOT_STATEMENTS,
    *inventory.storage.HOT_STATEMENTS,
    *orders.storage.HOT_STATEMENTS,
]


class HotStatementTests(TestCase):
    def test_each_is_understood_by_the_migrated_schema(self):
        connection.ensure_connection()
        for number, statement in enumerate(STATEMENTS):
            with self.subTest(statement):
                numbered = statement
                position = 0
                while "%s" in numbered:
                    position += 1
                    numbered = numbered.replace("%s", f"${position}", 1)
                psycopg.Cursor(connection.connection).execute(
                    f"PREPARE hot_{number} AS {numbered}".encode()
                )

    def test_connections_let_the_server_prepare(self):
        connection.ensure_connection()

        self.assertEqual(connection.connection.prepare_threshold, 5)

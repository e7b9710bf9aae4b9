"""The statements that the server prepares."""

import re

import psycopg
from django.db import connection
from django.test import TestCase

import events.queue
import events.reading
import events.storage
import events.subscribing
import inventory.holdstore
import inventory.storage
import orders.storage

STATEMENTS = [
    *events.storage.HOT_STATEMENTS,
    *inventory.holdstore.HOT_STATEMENTS,
    *events.queue.STATEMENTS,
    *events.reading.STATEMENTS,
    *events.subscribing.STATEMENTS,
    *inventory.storage.HOT_STATEMENTS,
    *orders.storage.HOT_STATEMENTS,
]


class HotStatementTests(TestCase):
    def test_each_is_understood_by_the_migrated_schema(self):
        connection.ensure_connection()
        for number, statement in enumerate(STATEMENTS):
            with self.subTest(statement):
                names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
                numbered = statement
                for position, name in enumerate(names, start=1):
                    numbered = numbered.replace(f"%({name})s", f"${position}")
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

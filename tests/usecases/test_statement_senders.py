"""Statements say which function sent them, and for which route."""

from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.signals import connection_created
from django.test import TestCase

from config.senders import sender_of, serve
from events.naming import note_route, signed
from events.usecases import hot_cursor
from inventory.models import Sku


class SignedStatementTests(TestCase):
    def setUp(self):
        # What called this process before may have left its route; and so might these.
        for forget in (lambda: note_route(""), connection.execute_wrappers.clear):
            forget()
            self.addCleanup(forget)

    def test_of_django_names_the_function_and_the_route(self):
        connection_created.send(DatabaseWrapper, connection=connection)
        serve("GET", "/api/v1/skus/{code}")
        sent = []

        def record(execute, statement, *call):
            sent.append(statement)
            return execute(statement, *call)

        with connection.execute_wrapper(record):
            Sku.objects.filter(code="CUP").exists()

        assert sender_of(sent[0]) == (self.id(), "GET /api/v1/skus/{code}")

    def test_that_is_hot_names_the_function_and_the_route(self):
        note_route("POST /api/v1/orders")

        cursor = hot_cursor().execute("SELECT %s::int", (1,))

        assert cursor.fetchall() == [(1,)]
        assert sender_of(cursor._query.query.decode()) == (self.id(), "POST /api/v1/orders")

    def test_names_no_route_outside_of_a_request(self):
        assert sender_of(signed("SELECT 1", "orders.storage.find")) == ("orders.storage.find", "")

    def test_is_signed_once_however_many_connections_a_greenlet_takes(self):
        for _ in range(3):
            connection_created.send(DatabaseWrapper, connection=connection)

        assert len(connection.execute_wrappers) == 1

    def test_keeps_its_comment_behind_the_first_word(self):
        for statement, text in (
            ("SELECT 1", "SELECT /*function='a.b'*/ 1"),
            ("\nWITH x AS (SELECT 1) TABLE x", "\nWITH /*function='a.b'*/ x AS (SELECT 1) TABLE x"),
            ("(SELECT 1) UNION (SELECT 2)", "(SELECT /*function='a.b'*/ 1) UNION (SELECT 2)"),
        ):
            assert signed(statement, "a.b") == text

    def test_cannot_be_ended_by_what_it_names(self):
        note_route("GET /x*/; DROP TABLE orders_order; --'")

        assert signed("SELECT 1", "a.b") == (
            "SELECT /*function='a.b',route='GET /x/ DROP TABLE orders_order --'*/ 1"
        )

    def test_is_left_as_it_is_when_it_is_no_text(self):
        assert signed(b"SELECT 1", "a.b") == b"SELECT 1"
        assert signed("", "a.b") == ""

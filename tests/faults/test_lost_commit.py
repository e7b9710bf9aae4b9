"""The connection is lost around COMMIT, and nobody is told a lie."""

import os
import socket

import psycopg
from django.db import DataError, connection, transaction
from gevent import GreenletExit

from events import durable
from events.errors import OutcomeUnknown, TemporarilyUnavailable
from events.models import IdempotencyKey
from orders.models import Order
from orders.reconciliation import find_discrepancies
from rollout.codepath import override
from tests.builders import given_account, given_stock, level_of, place
from tests.committed import CommittedTestCase
from tests.faults.proxy import CuttingProxy


class LostCommitTests(CommittedTestCase):
    def setUp(self):
        self.account = given_account()
        given_stock("CUP", on_hand=10)
        self.enterContext(override(orders_place="v1"))

    def cut(self, when, *, cuts):
        """Let every new connection of this test go through a proxy that cuts."""
        place_of_server = dict(connection.settings_dict)
        proxy = CuttingProxy(lambda: connect_to_server(place_of_server), cut=when, cuts=cuts)
        self.addCleanup(proxy.close)
        connection.close()
        connection.settings_dict |= {"HOST": proxy.host, "PORT": "5432"}
        self.addCleanup(connection.close)
        self.addCleanup(connection.settings_dict.update, place_of_server)
        return proxy

    def test_an_order_committed_without_an_answer_is_found_by_its_key(self):
        self.cut("after", cuts=1)

        answer = place({"CUP": 3}, account=self.account)

        self.assertEqual(answer.status, 201)
        self.assertTrue(answer.is_replayed)
        self.assertEqual(Order.objects.count(), 1)
        self.assertEqual(level_of("CUP").allocated, 3)
        self.assertEqual(list(find_discrepancies()), [])

    def test_an_order_whose_commit_never_arrived_is_placed_once(self):
        proxy = self.cut("before", cuts=1)

        answer = place({"CUP": 3}, account=self.account)

        self.assertEqual(answer.status, 201)
        self.assertEqual(proxy.cuts_left, 0)
        self.assertFalse(answer.is_replayed)
        self.assertEqual(Order.objects.count(), 1)
        self.assertEqual(level_of("CUP").allocated, 3)

    def test_says_that_it_does_not_know_when_no_commit_is_ever_answered(self):
        self.cut("before", cuts=99)

        with self.assertRaises(OutcomeUnknown) as caught:
            place({"CUP": 3}, account=self.account, key="k-1")

        self.assertEqual(caught.exception.effect, "unknown")
        self.assertTrue(caught.exception.retryable)

    def test_the_same_key_tells_later_what_became_of_it(self):
        self.cut("after", cuts=1)
        first = place({"CUP": 3}, account=self.account, key="k-1")

        again = place({"CUP": 3}, account=self.account, key="k-1")

        self.assertEqual(again.body, first.body)
        self.assertEqual(IdempotencyKey.objects.filter(key="k-1").count(), 1)


class CommitTests(CommittedTestCase):
    def setUp(self):
        given_stock("CUP", on_hand=10)

    def test_a_connection_lost_before_commit_is_tried_again(self):
        lost = iter([True, True, False])

        answer = durable.commit(lambda: self.lose_connection() if next(lost) else "done")

        self.assertEqual(answer, "done")

    def test_nothing_was_done_when_every_connection_is_lost_before_commit(self):
        with self.assertRaises(TemporarilyUnavailable) as caught:
            durable.commit(self.lose_connection)

        self.assertEqual((caught.exception.effect, caught.exception.retryable), ("none", True))
        self.assertEqual(level_of("CUP").on_hand, 10)

    def test_a_lock_not_had_in_time_is_told_and_not_tried_again(self):
        tries = []

        def wait_for_lock():
            tries.append(1)
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = 20")
                cursor.execute("SELECT pg_sleep(1)")

        with self.assertRaises(TemporarilyUnavailable):
            durable.commit(wait_for_lock)

        self.assertEqual(len(tries), 1)

    def test_a_statement_that_fails_in_one_flight_with_commit_has_done_nothing(self):
        def write_and_wait():
            self.count_ninety_nine()
            durable.hot_cursor().execute("SET LOCAL statement_timeout = 20")
            durable.hot_cursor().execute("SELECT pg_sleep(1)")

        with self.assertRaises(TemporarilyUnavailable) as caught:
            durable.commit(write_and_wait, in_flight=True)

        self.assertEqual(caught.exception.effect, "none")
        self.assertEqual(level_of("CUP").on_hand, 10)

    def test_a_flight_of_several_answers_begins_and_commits_once(self):
        told = []

        def read_and_write():
            connection.connection.add_notice_handler(lambda note: told.append(note.message_primary))
            durable.hot_cursor().execute("SELECT 1").fetchone()
            self.count_ninety_nine()
            return durable.hot_cursor().execute("SELECT 2").fetchone()

        self.assertEqual(durable.commit(read_and_write, in_flight=True), (2,))
        self.assertEqual(level_of("CUP").on_hand, 99)
        self.assertEqual(told, [])

    def test_a_session_that_ends_in_the_middle_of_a_flight_is_replaced(self):
        ended = []

        def read_and_write():
            (pid,) = durable.hot_cursor().execute("SELECT pg_backend_pid()").fetchone()
            if not ended:
                ended.append(pid)
                self.end_session(pid)
            self.count_ninety_nine()
            return durable.hot_cursor().execute("SELECT pg_backend_pid()").fetchone()

        (pid,) = durable.commit(read_and_write, in_flight=True)

        self.assertNotEqual([pid], ended)
        self.assertEqual(level_of("CUP").on_hand, 99)

    def test_a_flight_that_ends_with_its_session_has_done_nothing(self):
        def write_and_lose():
            self.count_ninety_nine()
            (pid,) = durable.hot_cursor().execute("SELECT pg_backend_pid()").fetchone()
            self.end_session(pid)

        with self.assertRaises(OutcomeUnknown):
            durable.commit(write_and_lose, in_flight=True)

        self.assertEqual(level_of("CUP").on_hand, 10)

    def test_who_is_killed_in_a_flight_leaves_the_connection_to_nobody(self):
        for is_read in (False, True):
            with self.subTest(is_read=is_read):
                used = self.connection_of_one_who_is_killed(is_read=is_read)

                self.assertTrue(used.closed)
                self.assertEqual(level_of("CUP").on_hand, 10)

    def connection_of_one_who_is_killed(self, *, is_read):
        connections = []

        def write_and_die():
            connections.append(connection.connection)
            self.count_ninety_nine()
            if is_read:
                durable.hot_cursor().execute("SELECT 1").fetchone()
            raise GreenletExit

        with self.assertRaises(GreenletExit):
            durable.commit(write_and_die, in_flight=True)
        return connections[0]

    def test_a_value_that_no_statement_can_carry_is_the_callers_fault(self):
        with self.assertRaises(DataError):
            durable.commit(
                lambda: durable.hot_cursor().execute("SELECT %s", ("\0",)), in_flight=True
            )

        self.assertEqual(durable.commit(lambda: "done", in_flight=True), "done")

    def end_session(self, pid):
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    def count_ninety_nine(self):
        durable.hot_cursor().execute("UPDATE inventory_stocklevel SET on_hand = 99, version = 99")

    def test_a_wrong_statement_passes_untouched(self):
        with self.assertRaisesMessage(Exception, "division by zero"):
            durable.commit(lambda: connection.cursor().execute("SELECT 1 / 0"))

    def test_refuses_to_run_inside_another_transaction(self):
        with self.assertRaises(RuntimeError), transaction.atomic():
            durable.commit(lambda: None)

    def test_no_connection_in_trouble_is_used_again(self):
        with self.assertRaises(TemporarilyUnavailable):
            durable.commit(self.lose_connection)

        self.assertEqual(level_of("CUP").on_hand, 10)

    def lose_connection(self):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE inventory_stocklevel SET on_hand = 99, version = 99")
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def connect_to_server(place):
    if str(place["HOST"]).startswith("/"):
        end = socket.socket(socket.AF_UNIX)
        end.connect(f"{place['HOST']}/.s.PGSQL.{place['PORT'] or 5432}")
        return end
    return socket.create_connection((place["HOST"] or "127.0.0.1", int(place["PORT"] or 5432)))

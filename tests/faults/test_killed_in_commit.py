"""A greenlet that is killed while COMMIT is under way: nobody is told that nothing was done."""

import time
from unittest.mock import patch

import psycopg
from django.db import connection

from events.durable import commit
from events.flights import COMMIT, Flight
from events.usecases import Answer, RequestInProgress
from orders.models import Order
from orders.placement import Placement, Told, place_together
from tests.builders import a_placement, given_account, given_stock, level_of
from tests.committed import CommittedTestCase

land = Flight._land


class Killed(BaseException):
    """What gevent raises in a greenlet that it ends is no Exception either."""


def die_in_commit(ours: psycopg.Connection) -> None:
    """Send COMMIT, and end before its answer comes."""
    ours.pgconn.send_query(b"COMMIT")
    raise Killed


def die_in_flight(flight: Flight, query: str) -> None:
    """Send all that is to be written and COMMIT, and end before their answers come."""
    if query == COMMIT:
        raise Killed
    land(flight, query)


def told_at_last(placements: list[Placement]) -> list[Told]:
    for _ in range(100):
        told = place_together(placements)
        if not any(isinstance(each, RequestInProgress) for each in told):
            return told
        time.sleep(0.02)
    raise AssertionError("in progress for ever")


class KilledInCommitTests(CommittedTestCase):
    def test_a_batch_whose_leader_dies_in_commit_is_told_nothing(self):
        account = given_account()
        given_stock("CUP", on_hand=5)
        placements = [a_placement(account=account, key=f"k-{n}") for n in range(3)]

        with patch.object(Flight, "_land", die_in_flight), self.assertRaises(Killed):
            place_together(placements)

        # The server may do it before it misses us: the keys know, as soon as it has.
        self.assertEqual([type(told) for told in told_at_last(placements)], [Answer] * 3)
        self.assertEqual(Order.objects.count(), 3)
        self.assertEqual(level_of("CUP").allocated, 3)

    def test_the_connection_is_never_used_again(self):
        connection.ensure_connection()
        before = connection.connection

        with patch.object(psycopg.Connection, "commit", die_in_commit), self.assertRaises(Killed):
            commit(lambda: None)

        self.assertTrue(before.closed)
        self.assertEqual(commit(lambda: "done"), "done")

"""A connection of the pool that answered just now is not asked again, unless it has hung up."""

from unittest.mock import patch

import psycopg
import pytest
from django.db import connection

from config import slow_statements
from config.slow_statements import WatchedConnection
from tests.committed import CommittedTestCase


class SignOfLifeTests(CommittedTestCase):
    def setUp(self):
        self.watched = WatchedConnection.connect(
            **connection.get_connection_params() | {"autocommit": True}
        )
        self.addCleanup(self.watched.close)
        self.watched.execute("SELECT 1")

    def test_who_answered_just_now_is_not_asked(self):
        assert self.watched.execute("") is None

    def test_who_answered_a_while_ago_is_asked(self):
        with patch.object(slow_statements, "ALIVE_S", 0):
            assert self.watched.execute("").pgresult is not None

    def test_who_has_hung_up_since_is_found_out(self):
        with connection.cursor() as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [self.watched.info.backend_pid])

        with pytest.raises(psycopg.OperationalError):
            self.watched.execute("")

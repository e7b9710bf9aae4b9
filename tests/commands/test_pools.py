"""Django's wrappers of connections, lent by a worker to one call after the other."""

from collections.abc import Iterator
from unittest import mock

import gevent
import pytest
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from config import pools
from config.pools import give_back, lend_wrappers


@pytest.fixture(autouse=True)
def _lending(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pools, "_resting", None)
    monkeypatch.setattr(connections, "_connections", connections._connections)
    monkeypatch.setitem(vars(connections), "create_connection", connections.create_connection)
    lend_wrappers()
    yield
    give_back()


def asked():
    """Return the wrapper that whoever asks the database has."""
    return connections[DEFAULT_DB_ALIAS]


def resting():
    return list(pools._resting or [])


class LentWrappersTests:
    def test_are_one_as_long_as_a_call_lasts(self):
        assert asked() is asked()

    def test_are_made_for_nobody_who_asks_nothing(self):
        assert give_back()

        assert resting() == []

    def test_serve_the_next_call_when_one_gives_them_back(self):
        def call():
            wrapper = asked()
            give_back()
            return wrapper

        first = call()

        assert [gevent.spawn(call).get() for _ in range(3)] == [first] * 3
        assert resting() == [first]

    def test_are_never_two_calls_at_once(self):
        def take_time(connection):
            assert holders.pop(connection.wrapper) is gevent.getcurrent()
            gevent.sleep(0)

        def call():
            wrapper = asked()
            assert holders.setdefault(wrapper, gevent.getcurrent()) is gevent.getcurrent()
            wrapper.connection = mock.Mock(_pool=pool, wrapper=wrapper)
            gevent.sleep(0)
            assert asked() is wrapper
            give_back()

        holders, pool = {}, mock.Mock()
        pool.putconn.side_effect = take_time
        with mock.patch.object(type(asked()), "pool", pool):
            for _ in range(20):
                gevent.joinall([gevent.spawn(call) for _ in range(5)], raise_error=True)
        assert pool.putconn.call_count == 100
        assert len(resting()) == 5

    def test_stay_with_whoever_is_inside_a_transaction(self):
        wrapper = asked()
        wrapper.in_atomic_block = True

        assert not give_back()
        assert (asked(), resting()) == (wrapper, [])
        wrapper.in_atomic_block = False

    def test_give_their_connection_back_to_the_pool_first(self):
        def take(_):
            seen.append(resting())

        wrapper, pool, seen = asked(), mock.Mock(), []
        pool.putconn.side_effect = take
        wrapper.connection = connection = mock.Mock(_pool=pool)

        with mock.patch.object(type(wrapper), "pool", pool):
            assert give_back()

        assert pool.putconn.call_args == mock.call(connection)
        assert (seen, wrapper.connection, resting()) == ([[]], None, [wrapper])

    def test_are_refused_to_whoever_kept_one_that_he_gave_back(self):
        kept = asked()
        give_back()
        with pytest.raises(DatabaseError, match="thread"):
            kept.validate_thread_sharing()

        assert gevent.spawn(asked).get() is kept
        kept.validate_thread_sharing()  # Threads are told apart: these greenlets are one thread's.

    def test_carry_nothing_of_the_call_before(self):
        wrapper = asked()
        wrapper.rollback_exc = ValueError("of one call")

        give_back()

        assert asked() is wrapper
        assert wrapper.rollback_exc is None

    def test_stay_with_their_connection_where_there_is_no_pool(self):
        wrapper = asked()
        wrapper.connection = mock.Mock()

        with mock.patch.object(type(wrapper), "pool", None):
            assert give_back()

        assert (asked(), resting()) == (wrapper, [])
        wrapper.connection = None

    def test_of_a_greenlet_that_ends_inside_of_something_are_lent_to_nobody(self):
        wrapper = gevent.spawn(asked).get()

        assert resting() == []
        assert asked() is not wrapper

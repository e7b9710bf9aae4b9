"""The pool of connections of a worker, and Django's wrappers around them."""

from threading import get_ident
from time import monotonic
from typing import Any, cast

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from gevent import getcurrent

# The attribute under which a greenlet keeps its wrapper begins so.
PREFIX = "connection_to_"
# Django's wrappers that nobody has now, each without a connection; None where each thread keeps
# its own, as Django means it.
_resting: list[BaseDatabaseWrapper] | None = None


def use_the_last_first(pool: Any) -> None:
    """
    Have a pool hand out the connection that was used last, and not, as psycopg, first.

    What a process of PostgreSQL keeps of tables and plans is then still in the processor's caches
    when it is asked next: a tenth of its work. Those that are too many rest, until they are closed;
    one that has grown too old meanwhile is handed out once more, and replaced when it comes back.
    """
    hand_out = pool._get_ready_connection

    def hand_out_the_last(timeout: float | None) -> Any:
        resting = pool._pool
        if resting and resting[0]._expire_at > monotonic():
            resting.rotate(1)  # The last to the front, from where they are handed out.
        return hand_out(timeout)

    pool._get_ready_connection = hand_out_the_last


class OfGreenlet:
    """What Django keeps of its connections for each thread, kept by each greenlet itself."""

    def __getattr__(self, alias: str) -> BaseDatabaseWrapper:
        wrapper: BaseDatabaseWrapper = getattr(getcurrent(), PREFIX + alias)
        return wrapper

    def __setattr__(self, alias: str, wrapper: BaseDatabaseWrapper) -> None:
        setattr(getcurrent(), PREFIX + alias, wrapper)

    def __delattr__(self, alias: str) -> None:
        delattr(getcurrent(), PREFIX + alias)


def lend_wrappers() -> None:
    """
    Have Django's wrappers lent: to a call, from its first statement until give_back.

    A wrapper and its helpers hold each other, so only the collector could free them, and Django
    makes one for each thread: here for each caller's connection. And what a thread has, asgiref
    looks up only after asking for an event loop of asyncio, of which there is none: microseconds,
    again and again.
    """
    global _resting  # noqa: PLW0603 - of the process, as Django's connections are
    resting: list[BaseDatabaseWrapper] = []
    make = connections.create_connection

    def lend(alias: str) -> BaseDatabaseWrapper:
        if not resting or alias != DEFAULT_DB_ALIAS:
            return make(alias)
        wrapper = resting.pop()
        wrapper._thread_ident = get_ident()  # type: ignore[attr-defined]
        return wrapper

    _resting = resting
    connections.create_connection = lend  # type: ignore[method-assign]
    connections._connections = OfGreenlet()  # type: ignore[attr-defined]


def give_back() -> bool:
    """
    Give this thread's connection back to the pool, and the wrapper to whoever needs one next.

    Where there is no pool it keeps both. Inside a transaction as well: then it returns False.
    """
    wrapper = _held()
    if wrapper is None:
        return True
    if wrapper.in_atomic_block:
        return False
    if wrapper.connection is not None:
        if not getattr(wrapper, "pool", None):
            return True
        wrapper.close()
    if _resting is not None:
        del connections[DEFAULT_DB_ALIAS]
        # Nobody's now: whoever kept it and uses it all the same is told so by Django.
        wrapper._thread_ident = 0  # type: ignore[attr-defined]
        # It holds the frames of the call whose transaction it ended.
        wrapper.rollback_exc = None  # type: ignore[attr-defined]
        _resting.append(wrapper)
    return True


def _held() -> BaseDatabaseWrapper | None:
    """Return the wrapper that this thread has; connections[...] would make one."""
    if _resting is None:
        wrapper = getattr(connections._connections, DEFAULT_DB_ALIAS, None)  # type: ignore[attr-defined]
    else:
        wrapper = getattr(getcurrent(), PREFIX + DEFAULT_DB_ALIAS, None)
    return cast(BaseDatabaseWrapper | None, wrapper)

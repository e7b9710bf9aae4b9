"""
One durable transaction, and what an error in it means.

The phase in which an error comes decides, and it is decided here and nowhere else: before COMMIT
was sent nothing happened; while COMMIT was under way nobody on this side knows.
"""

import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

import orjson
from django.db import Error, OperationalError, connection, transaction
from opentelemetry.trace import SpanKind
from psycopg_pool import PoolTimeout, TooManyRequests

from events.errors import LockNotHad, OutcomeUnknown, TemporarilyUnavailable
from events.flights import Flight
from events.tracing import HotCursor, is_traced, tracer

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# The flight of this greenlet, for as long as it lasts.
_flight_here: ContextVar[Flight | None] = ContextVar("flight", default=None)

ATTEMPTS = 3
# Deadlock, serialization failure, and a prepared statement whose table a migration has changed
# since, which ROLLBACK forgets: the server rolled back, and another try may well succeed.
CONFLICT_STATES = frozenset({"40P01", "40001", "0A000"})
# The session ended: terminated by an administrator, by a crash of another backend, or the
# server is starting up or going down.
LOST_STATES = frozenset({"57P01", "57P02", "57P03", "57P05"})
# The server lives but declines: a timeout, a lock not had in time, a full disk, no memory, no
# connection slot, a read-only standby.
LOCK_STATE = "55P03"
BUSY_STATES = frozenset({"57014", LOCK_STATE, "25006", "25P03"})
BUSY_CLASSES = frozenset({"53", "58", "57", "08"})


def commit(work: Callable[[], Result], *, in_flight: bool = False) -> Result:
    """
    Run work in one durable transaction and return what it returned, once that is committed.

    in_flight: its statements, all by hot_cursor, are sent on without waiting, a round trip only
    where an answer is read; COMMIT travels with the last of them.
    Work is run again, at most twice and after a short random wait, when the server asks for it
    (deadlock, serialization failure) or the connection is lost; so all it does must be in the
    database, and it must claim keys that find what a lost COMMIT has done after all.
    Raises TemporarilyUnavailable when the database cannot be used and nothing was done (LockNotHad
    when a lock was not had in time), OutcomeUnknown when COMMIT was sent and its answer never
    came, and RuntimeError inside another transaction. Whatever else work raises passes untouched,
    after the rollback.
    """
    is_unknown = False
    state = None
    for attempt in range(1, ATTEMPTS + 1):
        this = _Attempt()
        try:
            return this.run(work, in_flight=in_flight)
        except Error as failure:
            kill = _kill_behind(failure)
            if kill is not None:
                connection.close()
                raise kill from None
            state = _sqlstate(failure)
            # An error after COMMIT that the server did not send leaves a connection in between:
            # whatever is tried on it next would fail, and seem to have failed before COMMIT.
            if not (_is_trouble(failure, state) or (this.is_commit_sent and state is None)):
                raise
            logger.warning(
                "transaction failed (attempt %d, commit sent: %s): %s %s",
                attempt, this.is_commit_sent, state, failure,
            )  # fmt: skip
            let_go_of_frames(failure)
            # A connection in trouble is never given to the next caller.
            connection.close()
            is_lost = _is_lost(failure, state)
            is_unknown = is_unknown or (this.is_commit_sent and state not in CONFLICT_STATES)
            if not (is_lost or state in CONFLICT_STATES):
                break
        except Exception:
            raise
        except BaseException:
            # A greenlet killed in the middle of an exchange: the pool must see that the connection
            # is unusable, or its next user would read this transaction's answers.
            connection.close()
            raise
        if attempt < ATTEMPTS:
            time.sleep(random.uniform(0.5, 1.5) * 0.02 * 4 ** (attempt - 1))
    if is_unknown:
        raise OutcomeUnknown
    raise LockNotHad if state == LOCK_STATE else TemporarilyUnavailable


def let_go_of_frames(failure: BaseException | None) -> None:
    """
    Take from a failure that has been dealt with, and from those behind it, where they came from.

    Django's translation of a driver's error is held by a frame that it holds itself, and with it
    all that a batch had in hand: only the garbage collector could free that.
    """
    while failure is not None:
        failure.__traceback__ = None
        failure = failure.__cause__ or failure.__context__


def connect() -> None:
    """Have a connection, before anything is begun. Raises TemporarilyUnavailable without one."""
    try:
        with connection.wrap_database_errors:
            connection.ensure_connection()
    except OperationalError as failure:
        logger.warning("no connection: %s", failure)
        let_go_of_frames(failure)
        raise TemporarilyUnavailable from None


class _Attempt:
    """One try of a transaction, and how far it came."""

    def __init__(self) -> None:
        self._has_worked = False
        self._flight: Flight | None = None

    def run(self, work: Callable[[], Result], *, in_flight: bool) -> Result:
        with (
            connection.wrap_database_errors,
            contextlib.ExitStack() as committing,
            transaction.atomic(durable=True),
            _flying() if in_flight else contextlib.nullcontext() as self._flight,
        ):
            result = work()
            self._has_worked = True
            if is_traced():
                committing.enter_context(_commit_span())
            # Inside the transaction of a test there is only a savepoint.
            is_whole = not (connection.savepoint_ids or connection.needs_rollback)
            if self._flight is not None and is_whole:
                self._flight.commit()
        return result

    @property
    def is_commit_sent(self) -> bool:
        """Whether the server may have carried COMMIT out; not when it failed at one before it."""
        return self._has_worked and not (self._flight and self._flight.is_commit_skipped)


def _commit_span() -> contextlib.AbstractContextManager[object]:
    return tracer.start_as_current_span(
        "SQL COMMIT",
        kind=SpanKind.CLIENT,
        attributes={"db.system.name": "postgresql", "db.query.text": "COMMIT"},
        record_exception=False,
    )


def _kill_behind(failure: Error) -> BaseException | None:
    """Return what killed this greenlet when Django stumbled over it while it tidied up."""
    behind: BaseException | None = failure
    while isinstance(behind, Exception):
        behind = behind.__context__
    return behind


def _sqlstate(failure: Error) -> str | None:
    return getattr(failure.__cause__, "sqlstate", None)


def _is_trouble(failure: Error, state: str | None) -> bool:
    """Tell trouble of the database from a statement that is wrong."""
    if state is None:
        return isinstance(failure, OperationalError) or connection.connection is None
    return state in CONFLICT_STATES | BUSY_STATES or state[:2] in BUSY_CLASSES


def _is_lost(failure: Error, state: str | None) -> bool:
    if state is None:
        return not isinstance(failure.__cause__, PoolTimeout | TooManyRequests)
    return state in LOST_STATES or state.startswith("08")


def hot_cursor() -> HotCursor | Flight:
    """
    Return what executes on the current connection statements that the server prepares.

    Django's own cursors bind on the client, so nothing is ever prepared for them.
    """
    flight = _flight_here.get()
    if flight is not None:
        return flight
    connection.ensure_connection()
    return HotCursor(connection.connection)


@contextlib.contextmanager
def _flying() -> Iterator[Flight]:
    connection.ensure_connection()
    with Flight(connection.connection) as flight:
        _flight_here.set(flight)
        try:
            yield flight
        finally:
            _flight_here.set(None)


def document(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as one JSON parameter: psycopg adapts one value, however many rows there are."""
    return orjson.dumps(rows).decode()

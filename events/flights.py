"""Statements that travel together, their BEGIN and their COMMIT with them."""

import sys
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple, Self

import psycopg
from opentelemetry.trace import INVALID_SPAN, Span
from psycopg import abc
from psycopg._preparing import Prepare
from psycopg.adapt import PyFormat, Transformer
from psycopg.generators import fetch_many, send
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from events.tracing import is_traced, signed_by, statement_span

Row = tuple[Any, ...]

# What travels besides statements; SYNC ends the pipeline.
BEGIN, PREPARE, COMMIT, SYNC = "BEGIN", "PREPARE", "COMMIT", "SYNC"


class Statement(NamedTuple):
    """What the server prepares: a text, and the types of its values as PostgreSQL numbers them."""

    query: bytes
    types: tuple[int, ...]


class Answer:
    """What the server says to a statement, for whoever asks for it."""

    __slots__ = ("_adaptation", "_flight", "_query", "newly_prepared", "result", "span")

    def __init__(self, flight: "Flight", query: str, adaptation: abc.Transformer) -> None:
        self._flight = flight
        self._query = query
        self._adaptation = adaptation
        self.newly_prepared: tuple[Statement, bytes] | None = None
        self.result: PGresult | None = None
        self.span: Span = INVALID_SPAN

    def fetchall(self) -> list[Row]:
        """Return the rows, once the answers to all that was sent have come."""
        result = self._read()
        self._adaptation.set_pgresult(result)
        return self._adaptation.load_rows(0, result.ntuples, tuple)

    def fetchone(self) -> Row | None:
        """Return the first row, None where there is none."""
        return next(iter(self), None)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.fetchall())

    @property
    def rowcount(self) -> int:
        """How many rows were returned, or written."""
        return self._read().command_tuples or 0

    def _read(self) -> PGresult:
        if self.result is None:
            self._flight.read(self._query)
        assert self.result is not None  # noqa: S101  # Read, or an error was raised.
        return self.result


class Flight:
    """
    A pipeline of one transaction that sends nothing until an answer is read, and then all at once.

    psycopg's own waits before each statement until it may send it, and for the answer to BEGIN, of
    which there is nothing to learn; and its cursors do much of which nothing is of use here. What
    the server has prepared is theirs too. Nothing else may use the connection until a flight ends.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._prepared = connection._prepared
        self._unanswered: deque[Answer | str] = deque()
        self._failure: psycopg.Error | None = None
        self.is_commit_skipped = False

    def __enter__(self) -> Self:
        self._pgconn.enter_pipeline_mode()
        # Inside the transaction of a test there is one already.
        if self._pgconn.transaction_status == TransactionStatus.IDLE:
            self._pgconn.send_query_params(self._connection._get_tx_start_command(), None)
            self._unanswered.append(BEGIN)
        return self

    def __exit__(self, kind: Any, reason: BaseException | None, traceback: Any) -> None:
        is_killed = reason is not None and not isinstance(reason, Exception)
        try:
            if not is_killed:  # Who is, waits for nothing any more.
                self._end()
        except psycopg.Error:
            if reason is None:
                raise
        finally:
            self._failure = None  # It holds this frame.
            if is_killed or self._unanswered:
                # Nobody knows what it is in the middle of: not even libpq, that has a transaction.
                self._pgconn.finish()
                _end_spans(self._unanswered)
                self._unanswered.clear()
            elif self._pgconn.status == ConnStatus.OK:
                self._pgconn.exit_pipeline_mode()

    def execute(self, query: str, values: Any = ()) -> Answer:
        """
        Take a statement along, with the name of the function that sends it.

        query: a constant with %s for each of the values, in order, and no other percent sign.
        """
        sender = sys._getframe(1)
        text = numbered(signed_by(sender, query))
        adaptation = Transformer(self._connection)
        given = adaptation.dump_sequence(values, [PyFormat.AUTO] * len(values))
        statement = Statement(text, adaptation.types or ())
        answer = Answer(self, query, adaptation)
        name = self._name_of(statement) or self._prepare(statement, answer)
        if name:
            self._pgconn.send_query_prepared(name, given, adaptation.formats)
        else:
            self._pgconn.send_query_params(text, given, statement.types, adaptation.formats)
        self._unanswered.append(answer)
        if is_traced():
            answer.span = statement_span(sender, query)
        return answer

    def commit(self) -> None:
        """
        Let COMMIT travel with what was sent last; the end of the flight waits for its answer.

        The server skips it when something before it failed: is_commit_skipped tells so then.
        """
        self._pgconn.send_query_params(b"COMMIT", None)
        self._unanswered.append(COMMIT)

    def read(self, query: str) -> None:
        """Send what waits, and read all answers; query is whose is wanted."""
        if self._unanswered:
            self._pgconn.send_flush_request()
        self._land(query)

    def _end(self) -> None:
        is_committing = COMMIT in self._unanswered
        self._pgconn.pipeline_sync()
        self._unanswered.append(SYNC)
        self._land(COMMIT if is_committing else SYNC)

    def _land(self, query: str) -> None:
        # query: who waits for long is asked what for (config.slow_statements).
        try:
            self._connection.wait(self._exchange())
        except psycopg.Error as failure:
            # A server that ends a session has said why, before the connection was found lost.
            self._failure = self._failure or failure
        if self._failure is not None:
            raise self._failure

    def _exchange(self) -> abc.PQGen[None]:
        yield from send(self._pgconn)
        while self._unanswered:
            results = yield from fetch_many(self._pgconn)
            if not results:
                # A server that ends a session says so once, and then nothing.
                self._failure = self._failure or psycopg.OperationalError("lost in flight")
                return
            try:
                self._settle(self._unanswered.popleft(), results)
            except psycopg.Error as failure:
                # The first says what is wrong; what came after it was skipped.
                self._failure = self._failure or failure

    def _settle(self, asked: Answer | str, results: list[PGresult]) -> None:
        (result,) = results
        if isinstance(asked, Answer):
            asked.span.end()
            if asked.newly_prepared is not None:
                statement, name = asked.newly_prepared
                self._prepared.validate(statement, Prepare.SHOULD, name, results)
            asked.result = result
        elif asked is COMMIT:
            self.is_commit_skipped = result.status == ExecStatus.PIPELINE_ABORTED
            if result.command_status == b"ROLLBACK":
                # What COMMIT does to a transaction that has failed, and no error to the server.
                self.is_commit_skipped = True
                raise psycopg.OperationalError("COMMIT found a transaction that had failed")
        if result.status == ExecStatus.FATAL_ERROR:
            raise psycopg.errors.error_from_result(result, self._pgconn._encoding)
        if result.status == ExecStatus.PIPELINE_ABORTED:
            raise psycopg.errors.PipelineAborted("pipeline aborted")

    def _name_of(self, statement: Statement) -> bytes | None:
        names = self._prepared._names
        name = names.get(statement)
        if name is not None:
            names.move_to_end(statement)  # Those used last are kept.
        return name

    def _prepare(self, statement: Statement, answer: Answer) -> bytes:
        """Have a statement prepared; return its name, empty where nothing is prepared."""
        how, name = self._prepared.get(statement, prepare=True)  # type: ignore[arg-type]
        if how is Prepare.SHOULD:
            self._pgconn.send_prepare(name, statement.query, statement.types)
            self._unanswered.append(PREPARE)
            self._prepared.maybe_add_to_cache(statement, how, name)  # type: ignore[arg-type]
            answer.newly_prepared = statement, name
        return name


def _end_spans(unanswered: deque[Answer | str]) -> None:
    for asked in unanswered:
        if isinstance(asked, Answer):
            asked.span.end()


@lru_cache(maxsize=1024)
def numbered(statement: str) -> bytes:
    """Return a statement with $1 and so on where it has %s, as the server wants it."""
    first, *others = statement.split("%s")
    return "".join([first, *(f"${n}{more}" for n, more in enumerate(others, 1))]).encode()

"""Statements that travel together, their BEGIN and their COMMIT with them."""

from functools import partial
from typing import Any

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import ExecStatus, TransactionStatus

COMMIT = object()


class Flight(psycopg.Pipeline):
    """
    A pipeline that sends nothing until an answer is read, and then all of it at once.

    psycopg's own sends each statement by itself, and before each it waits until it may: ten waits
    where one is enough, and at each all other greenlets of the process come first. It also waits
    for the answer to BEGIN, of which there is nothing to learn.
    """

    is_commit_skipped = False
    _has_begun = False

    def commit(self) -> None:
        """
        Let COMMIT travel with what was sent last; the end of the flight waits for its answer.

        The server skips it when something before it failed: is_commit_skipped tells so then.
        """
        send = partial(self.pgconn.send_query_params, b"COMMIT", None)
        self.command_queue.append(send)
        self.result_queue.append(COMMIT)  # type: ignore[arg-type]

    def _communicate_gen(self) -> PQGen[None]:
        while self.command_queue:
            self.command_queue.popleft()()
        return
        yield  # It is asked for a generator.

    def _sync_gen(self) -> PQGen[None]:
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            yield from super()._sync_gen()
        elif self._has_begun:
            # BEGIN once more: the driver learns only at the end that there is a transaction.
            self.command_queue.pop()
            self.result_queue.pop()
        else:
            self._has_begun = True
            yield from self._communicate_gen()

    def _process_results(self, queued: Any, results: Any) -> None:
        if queued is COMMIT:
            self.is_commit_skipped = results[0].status == ExecStatus.PIPELINE_ABORTED
            if results[0].command_status == b"ROLLBACK":
                # What COMMIT does to a transaction that has failed, and no error to the server.
                self.is_commit_skipped = True
                raise psycopg.OperationalError("COMMIT found a transaction that had failed")
            queued = None
        super()._process_results(queued, results)

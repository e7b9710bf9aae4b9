"""The connections of the pool: what takes long is told, and what is alive is not asked again."""

import logging
import re
import sys
import time
from types import CodeType, FrameType
from typing import Any

import psycopg
from django.conf import settings
from gevent.monkey import is_module_patched
from gevent.socket import wait_read, wait_readwrite, wait_write
from psycopg.waiting import Ready, Wait

from config.instant import has_input

logger = logging.getLogger(__name__)

STATEMENT_LENGTH_MAX = 1000
# Who has answered so lately is asked whether it lives only when it has hung up since.
ALIVE_S = 1.0
SENDER = re.compile(r" /\*function='([^']*)'(?:,route='([^']*)')?\*/")
# Through these a statement passes; none of them has asked for it.
PASSED = frozenset({"contextlib", "django", "opentelemetry", "psycopg", "psycopg_pool"})
PASSED_MODULES = frozenset(
    {__name__, "config.overload", "config.senders", "events.flights", "events.tracing"}
)


class WatchedConnection(psycopg.Connection[Any]):
    """
    A connection that logs each wait for the server that lasts SLOW_STATEMENT_MS or longer.

    Every exchange passes here: Django's cursors, bare ones, pipelines and COMMIT. Who is to blame
    is found out only when it was slow, so the others pay for two looks at the clock.
    """

    _answered_at = 0.0

    def execute(self, query: Any, *values: Any, **how: Any) -> Any:
        """Send a statement; an empty one, by which the pool asks for a sign of life, if need be."""
        is_lately = time.perf_counter() - self._answered_at < ALIVE_S
        # A server that ends a session says so, and the system says that it hung up.
        if query == "" and is_lately and not has_input(self.pgconn.socket):
            return None
        return super().execute(query, *values, **how)

    def wait(self, gen: Any, *args: Any, **how: Any) -> Any:
        """Wait until the server has answered."""
        began = time.perf_counter()
        try:
            if not (args or how) and is_module_patched("select"):
                return self._wait_in_greenlet(gen)
            return super().wait(gen, *args, **how)
        finally:
            self._answered_at = time.perf_counter()
            elapsed_ms = (self._answered_at - began) * 1000
            if elapsed_ms >= settings.SLOW_STATEMENT_MS > 0:
                _tell(sys._getframe(1), elapsed_ms)

    def _wait_in_greenlet(self, exchange: Any) -> Any:
        """Wait as gevent does, at a third of the price of its poll()."""
        try:
            awaited = next(exchange)
            while True:
                if awaited == Wait.R:
                    wait_read(self.pgconn.socket)
                    ready = Ready.R
                elif awaited == Wait.W:
                    wait_write(self.pgconn.socket)
                    ready = Ready.W
                else:
                    # Either: who asks for both tries both, and neither ever blocks.
                    wait_readwrite(self.pgconn.socket)
                    ready = Ready.RW
                awaited = exchange.send(ready)
        except StopIteration as end:
            return end.value
        except KeyboardInterrupt:
            self.pgconn.finish()  # Nobody knows what it was in the middle of.
            raise


def _tell(sender: FrameType, elapsed_ms: float) -> None:
    logger.warning(
        "slow statement",
        extra={
            "duration_ms": round(elapsed_ms, 1),
            "function": function_that_sent(sender),
            "statement": statement_of(sender),
        },
    )


def function_that_sent(frame: FrameType | None) -> str | None:
    """Return the innermost function that is no library's, as orders.storage.add_orders."""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in PASSED and module not in PASSED_MODULES:
            return f"{module}.{name_of(frame.f_code)}"
        frame = frame.f_back
    return None


def name_of(code: CodeType) -> str:
    """Return a function's name, of a comprehension or a closure that of the function around it."""
    return code.co_qualname.partition(".<locals>")[0]


def statement_of(frame: FrameType) -> str:
    """
    Return the text of the statement that is waited for, without the values in it.

    What ends a pipeline waits for all that was sent, and is named by what it does.
    """
    asked = frame.f_locals.get("query")
    if asked is None:
        # In a pipeline it is waited for when its rows are read; by then execute() is over. What
        # the cursor sent is of no use: of a statement that the server has prepared it keeps none.
        asked = getattr(frame.f_locals.get("self"), "_last_query", None)
    if isinstance(asked, bytes):
        asked = asked.decode(errors="replace")
    text = str(asked) if asked is not None else frame.f_code.co_name.upper()
    # Who sent it is told beside it.
    return " ".join(SENDER.sub("", text).split())[:STATEMENT_LENGTH_MAX]

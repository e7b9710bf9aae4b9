"""
Every call through the gate: its body read before, within the deadline of a request.

Around Django and not inside of it: a refusal here costs a tenth of an order, and what three times
too many calls cost must not be taken from those that are served. For the same reason refusals
are counted and not logged.
"""

import io
import time
from collections.abc import Callable, Iterable
from functools import cache
from http import HTTPStatus
from secrets import token_hex
from typing import Any, NamedTuple, cast

from django.conf import settings
from django.http import HttpRequest
from gunicorn.http.body import Body
from prometheus_client import Counter, Gauge, Histogram

from config.deadlines import NEVER, begin_nothing_after
from config.errors import AppError, MalformedRequest
from config.gate import ORDER_PATH, Gate, Overloaded, Rank, places_of, rank_of
from config.health import PROBES
from config.metrics import refusals_with
from config.pools import give_back
from config.problems import is_for_people, problem, retry_in_s
from config.request_ids import request_id_from, trace_id_from
from config.slow_bodies import SlowBodies

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# What tells how the service is must be told most of all when it is busy.
UNGATED = frozenset({*PROBES, "/metrics"})
BUSY_PAGE = b"""<!doctype html><title>Busy</title>
<h1>Busy</h1><p>More was asked than can be served now, and nothing was done.
Go back and try again in a few seconds.</p>"""

REFUSED = Counter("gate_refused", "Calls that the gate did not let in.", ("rank", "reason"))
UNDER_WAY = Gauge(
    "gate_under_way",
    "Places taken: orders by group commit, others by what holds a connection.",
    ("lane",),
    multiprocess_mode="livesum",
)
WAITING = Gauge("gate_waiting", "Calls that wait for a place.", multiprocess_mode="livesum")
WAITED = Histogram(
    "gate_wait_seconds",
    "How long a call waited that did not come in at once.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
)
SLOW_BODIES = Counter("gate_slow_bodies", "Bodies that did not come within the deadline.")
# Bound once: looking a child up costs more than counting.
_REFUSED = {
    (rank, reason): REFUSED.labels(rank.name.lower(), reason)
    for rank in Rank
    for reason in ("full", "behind_orders", "waited")
}
_ORDERS, _OTHERS = UNDER_WAY.labels("orders"), UNDER_WAY.labels("others")

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class BodyTooSlow(AppError):
    """The body did not come in the time that a request has: send it whole, at once."""

    code, kind, retryable = "body_too_slow", "timeout", True
    facts = ("seconds_max",)

    def __init__(self, *, seconds_max: int) -> None:
        super().__init__(f"The body may take {seconds_max} s")
        self.seconds_max = seconds_max


class AtOnce(NamedTuple):
    """An answer, or the pattern of one. lines: its headers, as they stand in its head."""

    status: str
    lines: str
    body: bytes


class Admission:
    """
    Refuses early what would be refused late.

    First the body, which may come slowly and holds nothing while it does; then the gate; then,
    for what only reads, the deadline before each statement of Django's. What writes is not stopped
    by a clock of ours: each of its statements and locks has a limit in PostgreSQL, and group
    commit stops waiting by itself.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self.deadline_s = settings.REQUEST_DEADLINE_S
        self.slow_bodies = SlowBodies()
        self._waiting_shown = 0
        self.gate = Gate(
            orders_max=settings.GATE_ORDERS_MAX,
            others_max=settings.GATE_OTHERS_MAX,
            waiting_max=settings.GATE_WAITING_MAX,
            wait_s_max=settings.GATE_WAIT_MS_MAX / 1000,
        )

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the call, or say that it was not begun."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if path in UNGATED:
            return self.application(environ, start_response)
        deadline = time.monotonic() + self.deadline_s
        length = _length_of(environ)
        try:
            if length:
                self._read_body(environ, length, deadline=deadline)
            places = places_of(method, path, body_bytes=length)
            self._enter(rank_of(method, path), places)
        except AppError as refusal:
            return _refuse(environ, start_response, refusal)
        if method in SAFE_METHODS and path.startswith("/api/"):
            begin_nothing_after(deadline)
        try:
            return self.application(environ, start_response)
        finally:
            # The next call on this connection has a deadline of its own, or none.
            begin_nothing_after(NEVER)
            # Now and not when the answer is sent: who reads it slowly would keep the connection. In
            # a stream the next row needs one again, and takes it.
            try:
                give_back()
            finally:
                self.gate.leave(places=places)
                self._show(places)

    def refuse_at_once(self, environ: Environ) -> AtOnce | None:
        """
        Return the refusal of an order whose body came whole, None where __call__ is to answer.

        It is the refusal that __call__ would make, for less: where most calls are refused, what
        that costs is taken from the orders that are served.
        """
        is_order = environ["PATH_INFO"] == ORDER_PATH and environ["REQUEST_METHOD"] == "POST"
        if not (is_order and self.gate.is_full_for(1)):
            return None
        _REFUSED[Rank.PLACE, "full"].inc()
        refusals_with(Overloaded.code).inc()
        trace_id, request_id = _ids_of(environ)
        status, lines, body = _order_too_many()
        body %= {b"trace_id": trace_id.encode(), b"request_id": request_id.encode()}
        lines %= {"retry_in_s": retry_in_s(), "length": len(body), "request_id": request_id}
        return AtOnce(status, lines, body)

    def _read_body(self, environ: Environ, length: int, *, deadline: float) -> None:
        """
        Read the body and let the application read it again.

        Raises BodyTooSlow, and MalformedRequest when the caller hung up in its midst.
        """
        stream = environ["wsgi.input"]
        if type(stream) is io.BytesIO and stream.getbuffer().nbytes == length:
            return  # It came whole.
        with self.slow_bodies.bounded(environ.get("gunicorn.socket"), deadline=deadline):
            try:
                body = stream.read(length)
            except OSError:
                body = b""  # It hung up, or was hung up on.
        if len(body) < length:
            if isinstance(stream, Body):
                stream.failed = True  # Where the next request begins is not known: none is read.
            if time.monotonic() >= deadline:
                SLOW_BODIES.inc()
                raise BodyTooSlow(seconds_max=self.deadline_s)
            raise MalformedRequest("The body ended before its Content-Length")
        environ["wsgi.input"] = io.BytesIO(body)

    def _enter(self, rank: Rank, places: int) -> None:
        try:
            waited_s = self.gate.enter(rank, places=places)
        except Overloaded as refusal:
            _REFUSED[rank, refusal.reason].inc()
            raise
        self._show(places)
        if waited_s:
            WAITED.observe(waited_s)

    def _show(self, places: int) -> None:
        gate = self.gate
        if places:
            _ORDERS.set(gate.orders)
        else:
            _OTHERS.set(gate.others)
            if gate.waiting != self._waiting_shown:  # Mostly nobody did, and nobody does.
                self._waiting_shown = gate.waiting
                WAITING.set(self._waiting_shown)


class _Asked(NamedTuple):
    """What a problem says of the request that it answers."""

    path: str
    path_info: str
    trace_id: str
    request_id: str


def _refuse(environ: Environ, start_response: StartResponse, refusal: AppError) -> Iterable[bytes]:
    refusals_with(refusal.code).inc()
    trace_id, request_id = _ids_of(environ)
    status, headers, body = _tell(environ, refusal, trace_id=trace_id, request_id=request_id)
    start_response(status, list(headers.items()))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _ids_of(environ: Environ) -> tuple[str, str]:
    trace_id = trace_id_from(environ.get("HTTP_TRACEPARENT"))
    return trace_id, request_id_from(environ.get("HTTP_X_REQUEST_ID"), trace_id=trace_id)


def _tell(
    environ: Environ, refusal: AppError, *, trace_id: str, request_id: str
) -> tuple[str, dict[str, str], bytes]:
    path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
    asked = cast(HttpRequest, _Asked(path, path, trace_id, request_id))
    status, headers, body = problem(asked, refusal)
    if is_for_people(asked):
        body = BUSY_PAGE
        headers["Content-Type"] = "text/html; charset=utf-8"
        headers["Content-Length"] = str(len(body))
    headers["X-Request-Id"] = request_id
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cache-Control"] = "no-store"
    return f"{status} {HTTPStatus(status).phrase}", headers, body


@cache
def _order_too_many() -> AtOnce:
    """Return the pattern of what an order is told that the gate does not let in."""
    trace_id, request_id = token_hex(16), token_hex(16)
    status, headers, body = _tell(
        {"PATH_INFO": ORDER_PATH}, Overloaded("full"), trace_id=trace_id, request_id=request_id
    )
    headers |= {"Retry-After": "%(retry_in_s)d", "Content-Length": "%(length)d"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    body = body.replace(b"%", b"%%").replace(trace_id.encode(), b"%(trace_id)b")
    return AtOnce(
        status,
        lines.replace(request_id, "%(request_id)s"),
        body.replace(request_id.encode(), b"%(request_id)b"),
    )


def _length_of(environ: Environ) -> int:
    """Return how long the body is that may be read here; 0 for none, and for one too long."""
    text = environ.get("CONTENT_LENGTH")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        return 0  # The edge refuses it unread.
    length = int(text)
    return length if length <= settings.BULK_BODY_BYTES_MAX else 0

"""Spans of use cases and statements, for whoever collects them; nobody there: no-ops."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import Any, Self, TypeVar
from uuid import UUID

import psycopg
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from events.naming import signed

Function = TypeVar("Function", bound=Callable[..., Any])

tracer = trace.get_tracer("events")

# Kinds of refusal that are the server's fault; every other one is normal trade.
SERVER_KINDS = frozenset({"internal", "unavailable"})


def current_traceparent() -> str:
    """Return the current span as W3C Trace Context writes it, empty without one."""
    here = trace.get_current_span().get_span_context()
    if not here.is_valid:
        return ""
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}"


def is_traced() -> bool:
    """Test whether there is a current span whose trace is kept."""
    return trace.get_current_span().get_span_context().trace_flags.sampled


@contextmanager
def delivery_span(event_id: UUID, traceparent: str) -> Iterator[Span]:
    """Make a span of an attempt to tell an event, in the trace of what caused the event."""
    if not traceparent:
        yield INVALID_SPAN
        return
    with tracer.start_as_current_span(
        "events.deliver",
        context=TraceContextTextMapPropagator().extract({"traceparent": traceparent}),
        kind=SpanKind.CLIENT,
        attributes={"http.request.method": "POST", "messaging.message.id": str(event_id)},
    ) as span:
        yield span


def tell_attempt(span: Span, *, is_success: bool, status: int | None, error: str) -> None:
    """Say in a span how an attempt ended."""
    if not span.is_recording():
        return
    if status is not None:
        span.set_attribute("http.response.status_code", status)
    if not is_success:
        span.set_attribute("error.type", error or str(status))
        span.set_status(StatusCode.ERROR)


@contextmanager
def use_case_span(name: str) -> Iterator[None]:
    """
    Make a span called name, as orders.place_order, of a block, in a trace that is kept.

    A refusal is told by its code and is no error of the span unless the server is at fault. No
    message and no trace of the stack is sent: they can hold what a caller sent.
    """
    if not is_traced():
        yield
        return
    with trace.get_tracer(name.partition(".")[0]).start_as_current_span(
        name, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        except Exception as failure:
            tell_failure(span, failure)
            raise


def use_case(name: str) -> Callable[[Function], Function]:
    """Return a decorator that makes each call of a use case a span called name."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def traced(*args: Any, **kwargs: Any) -> Any:
            if not is_traced():
                return function(*args, **kwargs)  # Asked first: an empty block costs more.
            with use_case_span(name):
                return function(*args, **kwargs)

        return traced  # type: ignore[return-value]

    return decorate


def use_case_behind(work: Callable[[], Any]) -> str:
    """Return the use case that a function was made in: inventory.receive_stock."""
    function = getattr(work, "func", work)
    return f"{function.__module__.partition('.')[0]}.{function.__qualname__.partition('.')[0]}"


def tell_failure(span: Span, failure: BaseException) -> None:
    """Say in a span why it ended: the code of a refusal, the type of anything else."""
    if not span.is_recording():
        return
    code = getattr(failure, "code", None)
    span.set_attribute("error.type", code if isinstance(code, str) else type(failure).__name__)
    if getattr(failure, "kind", "internal") in SERVER_KINDS:
        span.set_status(StatusCode.ERROR)


class HotCursor(psycopg.Cursor[tuple[Any, ...]]):
    """A cursor whose statements the server prepares; each is a span."""

    def execute(self, query: Any, params: Any = None, **how: Any) -> Self:
        """Send a statement, with the name of the function that does."""
        sender = sys._getframe(1)
        text = signed_by(sender, query)
        if not is_traced():
            return super().execute(text, params, **how)
        span = statement_span(sender, query)
        try:
            return super().execute(text, params, **how)
        except BaseException as failure:
            tell_failure(span, failure)
            raise
        finally:
            span.end()


def signed_by(sender: FrameType, query: Any) -> Any:
    """Return a statement with the name of the function that sends it."""
    return signed(query, f"{sender.f_globals['__name__']}.{sender.f_code.co_qualname}")


def statement_span(sender: FrameType, query: Any) -> Span:
    """Begin the span of a statement that a function sends."""
    module, function = sender.f_globals["__name__"], sender.f_code.co_name
    return tracer.start_span(
        f"SQL {module.partition('.')[0]}.{function}",
        kind=SpanKind.CLIENT,
        attributes={
            "db.system.name": "postgresql",
            # The text of a constant: values travel beside it.
            "db.query.text": str(query).strip(),
            "code.function.name": f"{module}.{function}",
        },
    )

"""The span in which a caller is identified, for whoever collects spans."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.trace import INVALID_SPAN, Span

from accounts.errors import Unauthenticated

tracer = trace.get_tracer("accounts")


def is_traced() -> bool:
    """Test whether there is a current span whose trace is kept."""
    return trace.get_current_span().get_span_context().trace_flags.sampled


@contextmanager
def authentication_span() -> Iterator[Span]:
    """
    Make a span of a block that identifies the caller, or raises Unauthenticated.

    What comes after the block is done in the caller's name: its spans are children of this one,
    until the server's span ends.
    """
    if not is_traced():
        yield INVALID_SPAN
        return
    with tracer.start_as_current_span(
        "accounts.authenticate", record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except Unauthenticated as refusal:
            tell_refusal(span, refusal)
            raise
    context.attach(trace.set_span_in_context(span))


def tell_refusal(span: Span, refusal: Unauthenticated) -> None:
    """Say in a span that nobody was let in, and why; the prefix of a key is public."""
    span.add_event("auth.failure", {"reason": refusal.reason, "key_prefix": refusal.prefix or ""})


def tell_caller(span: Span, *, account_id: int, prefix: str) -> None:
    """Say in a span who calls."""
    span.add_event("auth.success", {"account_id": account_id, "key_prefix": prefix})
    span.set_attribute("enduser.id", str(account_id))

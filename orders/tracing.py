"""The span of a batch, and the links by which it and its orders find each other."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link, Span, SpanContext

tracer = trace.get_tracer("orders")


@contextmanager
def batch_span(waiting: Sequence[Span], *, size: int) -> Iterator[SpanContext]:
    """
    Make a span of the block that places a batch; yields where it is found.

    waiting: the span of everybody who waits for the batch, its leader first. It is a child of the
    first of them whose trace is kept, who need not be the leader, and linked to all of them. Where
    no trace is kept there is no span.
    """
    parent = next((span for span in waiting if span.is_recording()), None)
    if parent is None:
        yield INVALID_SPAN_CONTEXT
        return
    contexts = [span.get_span_context() for span in waiting]
    with tracer.start_as_current_span(
        "orders.batch",
        context=trace.set_span_in_context(parent),
        links=[Link(context) for context in contexts if context.is_valid],
        attributes={"orders.batch.size": size, "orders.batch.requests": len(waiting)},
        record_exception=False,
    ) as span:
        yield span.get_span_context()


def link_to_batch(order: Span, batch: SpanContext) -> None:
    """Link the span of an order to that of the batch in which it was placed, if there is one."""
    if batch.is_valid and order.is_recording():
        order.add_link(batch, {"link.kind": "batch"})

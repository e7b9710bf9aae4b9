"""
Traces by OpenTelemetry; imported only where an endpoint to send them to is configured.

Traces alone: the metrics of its SDK can lock up under gevent, and Prometheus has ours.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Span, SpanKind

from config.release import VERSION
from config.request_ids import adopt_trace

EXCLUDED_URLS = "/livez,/readyz,/metrics,/static/"
# What the SDK reads by itself, where nobody has chosen. A collector that is slow costs a worker
# that stops no more than these seconds a batch.
DEFAULTS = {
    "OTEL_SERVICE_NAME": "sluice",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",
    "OTEL_PYTHON_DJANGO_EXCLUDED_URLS": EXCLUDED_URLS,
    "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
}


def instrument() -> None:
    """Have Django and psycopg make spans: before the middlewares are loaded, once a process."""
    _set_defaults()
    DjangoInstrumentor().instrument(
        # Behind the edge: it answers probes, which come by address, before anybody asks for a Host.
        middleware_position=settings.MIDDLEWARE.index("config.middleware.Edge") + 1,
        excluded_urls=os.environ["OTEL_PYTHON_DJANGO_EXCLUDED_URLS"],
        request_hook=_name_request,
    )
    # Neither parameters nor comments: the first are the callers', and a comment that names the
    # trace makes each statement a new one, which the server would never prepare.
    PsycopgInstrumentor().instrument()


def start() -> None:
    """Begin to send spans, in a worker: neither its thread nor its connection outlives a fork."""
    provider = TracerProvider(
        resource=Resource.create(
            {
                "service.version": VERSION,
                "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
            }
        ),
        # A batch is linked to all of its orders.
        span_limits=SpanLimits(max_links=settings.ORDERS_BATCH_LINES_MAX),
    )
    # The sampler that OTEL_TRACES_SAMPLER names.
    provider.sampler = WithoutOrphans(provider.sampler)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def stop() -> None:
    """Send what is left."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.shutdown()


@contextmanager
def sending() -> Iterator[None]:
    """Send the spans of a process that serves no requests."""
    _set_defaults()
    start()
    try:
        yield
    finally:
        stop()


class WithoutOrphans(Sampler):
    """
    Drops statements that belong to no request, and asks another sampler about all else.

    The pool tests its connections and rollout its rules every few seconds: each would be a trace.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        *more: Any,
        **named: Any,
    ) -> SamplingResult:
        """Return whether a span is kept."""
        parent = trace.get_current_span(parent_context).get_span_context()
        if kind is SpanKind.CLIENT and not parent.is_valid:
            return SamplingResult(Decision.DROP)
        return self._sampler.should_sample(parent_context, trace_id, name, kind, *more, **named)

    def get_description(self) -> str:
        """Return the name under which the SDK logs this sampler."""
        return f"WithoutOrphans({self._sampler.get_description()})"


def _set_defaults() -> None:
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def _name_request(span: Span, request: HttpRequest) -> None:
    # https://www.w3.org/TR/trace-context-2/#traceresponse-header
    here = span.get_span_context()
    trace_id = f"{here.trace_id:032x}"
    traceresponse = f"00-{trace_id}-{here.span_id:016x}-{here.trace_flags:02x}"
    adopt_trace(request, trace_id=trace_id, traceresponse=traceresponse)

"""Which trace an event belongs to."""

from django.test import TestCase
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from events.models import Event
from events.usecases import NewEvent, record_events
from tests.builders import NOON, given_stock

SPAN = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, False, TraceFlags(1))
OF_SPAN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OF_CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


class EventTraceTests(TestCase):
    def test_an_event_is_of_the_span_that_records_it(self):
        with trace.use_span(NonRecordingSpan(SPAN)):
            given_stock("CUP", on_hand=3)

        self.assertEqual(Event.objects.get(type="stock.received").traceparent, OF_SPAN)

    def test_an_event_may_name_the_span_that_caused_it(self):
        caused = NewEvent("order.placed", "order", "7", 1, {}, at=NOON, traceparent=OF_CALLER)

        with trace.use_span(NonRecordingSpan(SPAN)):
            record_events([caused])

        self.assertEqual(Event.objects.get().traceparent, OF_CALLER)

    def test_without_a_span_an_event_is_of_no_trace(self):
        given_stock("CUP", on_hand=3)

        self.assertEqual(Event.objects.get(type="stock.received").traceparent, "")

"""How a request gets its names."""

import json
import logging
import unittest

from config.logs import formatter
from config.request_ids import (
    bind_request_id,
    current_request_id,
    forget_request_id,
    request_id_from,
    trace_id_from,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


class TraceIdTests(unittest.TestCase):
    def test_is_the_one_that_a_traceparent_names(self):
        assert trace_id_from(f"00-{TRACE}-{SPAN}-01") == TRACE

    def test_is_read_from_a_later_version_with_more_fields(self):
        assert trace_id_from(f"01-{TRACE}-{SPAN}-01-more") == TRACE

    def test_is_fresh_without_a_valid_traceparent(self):
        for traceparent in (
            None,
            "",
            f"00-{'0' * 32}-{SPAN}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"ff-{TRACE}-{SPAN}-01",
            f"00-{TRACE.upper()}-{SPAN}-01",
            f"00-{TRACE}-{SPAN}-01-more",
            f"01-{TRACE}-{SPAN}-01more",
            f"00-{TRACE}-{SPAN}-01\n",
            f"00-{TRACE}-{SPAN}",
        ):
            trace_id = trace_id_from(traceparent)
            assert trace_id != TRACE
            assert len(bytes.fromhex(trace_id)) == 16


class RequestIdTests(unittest.TestCase):
    def test_is_what_the_caller_wishes(self):
        for wish in ("a", "shop-17.Retry_2", "x" * 64):
            assert request_id_from(wish, trace_id=TRACE) == wish

    def test_is_the_trace_when_the_wish_could_forge_a_line(self):
        for wish in (None, "", "x" * 65, "a b", "a\n", "a\r\nX: y", "é", "<b>", '"'):
            assert request_id_from(wish, trace_id=TRACE) == TRACE

    def test_is_on_every_log_line_and_gone_afterwards(self):
        record = logging.makeLogRecord({"msg": "x"})

        bind_request_id("r-1", trace_id=TRACE)
        line = json.loads(formatter("json").format(record))
        forget_request_id()

        assert (line["request_id"], line["trace_id"]) == ("r-1", TRACE)
        assert "request_id" not in json.loads(formatter("json").format(record))
        assert current_request_id() == "-"

"""What a real worker tells of its requests: spans to a receiver, lines to its log."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.message import Message
from http.client import HTTPConnection
from itertools import pairwise
from typing import Any

import pytest

from tests.commands.processes import wait_until
from tests.otlp import CLIENT, SERVER, ReceivedSpan, Receiver, receiving
from tests.server import Server, fresh_database, serving

CALLERS_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLERS_SPAN = "00f067aa0ba902b7"
TRACEPARENT = f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"
CANARY = "canary-7f3a"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


@pytest.fixture(scope="module")
def server(receiver: Receiver) -> Iterator[Server]:
    with (
        fresh_database(os.environ["DATABASE_URL"]) as database,
        serving(
            database,
            WEB_CONCURRENCY="1",
            ROLLOUT_REDIS_URL="",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_BSP_SCHEDULE_DELAY="50",
            DB_LOCK_TIMEOUT_MS="8000",
            DB_STATEMENT_TIMEOUT_MS="9000",
            SLOW_STATEMENT_MS="100",
        ) as started,
    ):
        started.given_stock("CUP", on_hand=400)
        yield started


@contextmanager
def stock_locked(server: Server, code: str) -> Iterator[None]:
    """Keep a SKU's level locked, so that whoever orders it waits."""
    with server.database.connect() as other, other.transaction():
        other.execute(
            "SELECT 1 FROM inventory_stocklevel l JOIN inventory_sku s ON s.id = l.sku_id"
            " WHERE s.code = %s FOR UPDATE OF l",
            (code,),
        )
        yield


def wait_for_a_waiter(server: Server) -> None:
    """
    Wait until one statement has waited for a lock for half a second.

    That is ten times as long as an order waits where it keeps others waiting: by then it has gone
    beside.
    """
    waits_long = (
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE datname = current_database()"
        " AND clock_timestamp() - waitstart > interval '500 ms'"
    )
    wait_until(lambda: server.database.value(waits_long) == 1)


def order(units: int = 1, **more: Any) -> dict[str, Any]:
    return {"customer": "c-17", "lines": [{"sku": "CUP", "quantity": units}]} | more


def begun(server: Server, body: dict[str, Any]) -> HTTPConnection:
    """Send an order without waiting for its answer."""
    caller = HTTPConnection("127.0.0.1", server.port, timeout=15)
    sent = {
        "Authorization": f"Bearer {server.api_key}",
        "Content-Type": "application/json",
        "Idempotency-Key": secrets.token_hex(8),
    }
    caller.request("POST", "/api/v1/orders", json.dumps(body), sent)
    return caller


def ended(call: HTTPConnection) -> Message:
    """Return the headers of the answer, with nothing left open."""
    with closing(call):
        answer = call.getresponse()
        answer.read()
        return answer.headers


def trace_of(headers: Any) -> str:
    version, trace_id, _, flags = headers["traceresponse"].split("-")
    assert version == "00"
    assert int(flags, 16) & 1  # Kept.
    return str(trace_id)


def named(spans: list[ReceivedSpan], name: str) -> ReceivedSpan:
    (found,) = [span for span in spans if span.name == name]
    return found


def lines_of(server: Server, **fields: Any) -> list[dict[str, Any]]:
    """Return the log lines that have these fields; every line there is must be JSON."""
    lines = [json.loads(line) for line in server.log_text().splitlines()]
    return [line for line in lines if line.items() >= fields.items()]


def key_of_a_reader(server: Server) -> str:
    return server.database.manage(
        "create_api_key", "--user", "reader", "--create-user", "--scope", "orders:read"
    )


class TraceTests:
    def test_of_an_order_leads_from_the_call_to_the_statements(self, server, receiver):
        status, headers, _ = server.call("POST", "/api/v1/orders", order(), traceparent=TRACEPARENT)

        spans = receiver.trace(CALLERS_TRACE)
        chain = [
            named(spans, name)
            for name in (
                "POST api/v1/orders",
                "accounts.authenticate",
                "rollout orders.place",
                "orders.place_order",
                "orders.batch",
            )
        ]
        assert status == 201
        assert trace_of(headers) == CALLERS_TRACE
        assert chain[0].parent_id == CALLERS_SPAN
        for above, below in pairwise(chain):
            assert below.parent_id == above.span_id, (above.name, below.name)
        assert {span.service for span in spans} == {"sluice"}
        statements = [span for span in spans if span.parent_id == chain[-1].span_id]
        assert {span.kind for span in statements} == {CLIENT}
        assert {span.name for span in statements} >= {
            "SQL events.ask_keys",
            "SQL inventory.read_stock",
            "SQL inventory.take_free_units",
            "SQL orders.add_orders",
            "SQL events.add_events",
            "SQL events.keep_answers",
            "SQL COMMIT",
        }

    def test_says_who_called_and_what_served(self, server, receiver):
        _, headers, _ = server.call("POST", "/api/v1/orders", order())

        spans = receiver.trace(trace_of(headers))
        success = named(spans, "accounts.authenticate").events["auth.success"]
        decision = named(spans, "rollout orders.place").attributes
        assert success == {"account_id": 1, "key_prefix": "_".join(server.api_key.split("_")[:2])}
        assert decision["feature_flag.key"] == "orders.place"
        assert decision["feature_flag.result.version"] == "v2"
        assert decision["feature_flag.result.reason"] == "DEFAULT"
        assert decision["feature_flag.version"] == "0"

    def test_of_what_has_no_batch_leads_from_the_use_case_to_the_statements(self, server, receiver):
        _, headers, _ = server.call("POST", "/api/v1/stock/CUP/receipts", {"quantity": 1})
        received = receiver.trace(trace_of(headers))
        # A key that sees one account alone: for more the first statement is one of ours.
        own = f"Bearer {key_of_a_reader(server)}"
        _, headers, _ = server.call("GET", "/api/v1/orders", Authorization=own)
        listed = receiver.trace(trace_of(headers))

        use_case = named(received, "inventory.receive_stock")
        assert use_case.parent_id == named(received, "accounts.authenticate").span_id
        below = {span.name for span in received if span.parent_id == use_case.span_id}
        assert below >= {"SQL events.ask_keys", "SQL inventory.move_levels", "SQL COMMIT"}
        selects = [
            span.name
            for span in listed
            if span.parent_id == named(listed, "orders.list_orders").span_id
            and 'FROM "orders_order"' in span.attributes.get("db.query.text", "")
        ]
        assert set(selects) == {"SELECT"}

    def test_of_a_stranger_says_why_he_was_refused(self, server, receiver):
        for key, reason in (("Bearer nonsense", "malformed"), (None, "missing")):
            caller = HTTPConnection("127.0.0.1", server.port, timeout=15)
            caller.request("GET", "/api/v1/orders", headers={"Authorization": key} if key else {})
            answer = caller.getresponse()
            problem = json.loads(answer.read())
            caller.close()

            spans = receiver.trace(trace_of(answer.headers))
            failure = named(spans, "accounts.authenticate").events["auth.failure"]
            assert failure == {"reason": reason, "key_prefix": ""}
            assert problem["trace_id"] == spans[0].trace_id

    def test_of_a_refused_order_is_no_error(self, server, receiver):
        status, headers, body = server.call("POST", "/api/v1/orders", order(10_000))

        spans = receiver.trace(trace_of(headers))
        assert status == 409
        assert json.loads(body)["trace_id"] == trace_of(headers)
        assert {span.status for span in spans} == {0}

    def test_of_two_orders_in_one_batch_lead_to_each_other(self, server, receiver):
        with stock_locked(server, "CUP"):
            first = begun(server, order())
            wait_for_a_waiter(server)
            both = [begun(server, order()), begun(server, order())]
            # The one worker takes what came first: once it has answered these, it has both.
            for _ in range(3):
                server.call("GET", "/api/v1/orders")
        headers = [ended(call) for call in (first, *both)][1:]

        traces = [receiver.trace(trace_of(told)) for told in headers]
        orders = [named(spans, "orders.place_order") for spans in traces]
        (batch,) = [span for spans in traces for span in spans if span.name == "orders.batch"]
        assert batch.attributes["orders.batch.size"] == 2
        assert sorted(batch.links) == sorted((one.trace_id, one.span_id) for one in orders)
        assert batch.parent_id in {one.span_id for one in orders}
        assert [one.links for one in orders] == [[(batch.trace_id, batch.span_id)]] * 2

    def test_of_each_order_is_in_its_event(self, server, receiver):
        _, headers, answer = server.call("POST", "/api/v1/orders", order())

        spans = receiver.trace(trace_of(headers))
        traceparent = server.database.value(
            "SELECT traceparent FROM events_event WHERE aggregate_id = %s", json.loads(answer)["id"]
        )
        caused_by = named(spans, "orders.place_order")
        assert traceparent.startswith(f"00-{caused_by.trace_id}-{caused_by.span_id}-")

    def test_holds_neither_values_nor_secrets(self, server, receiver):
        sent = order(reference=CANARY)
        _, headers, _ = server.call(
            "POST", "/api/v1/orders", sent, **{"Idempotency-Key": f"k-{CANARY}"}
        )

        spans = receiver.trace(trace_of(headers))
        assert CANARY not in repr(spans)
        assert server.api_key not in repr(spans)

    def test_of_probes_and_of_the_pools_own_statements_there_are_none(self, server, receiver):
        server.call("GET", "/livez")
        server.call("GET", "/readyz")
        _, headers, _ = server.call("GET", "/api/v1/orders")

        receiver.trace(trace_of(headers))
        roots = [span for span in receiver.spans if not span.parent_id]
        assert {span.kind for span in roots} == {SERVER}
        assert not [span for span in roots if "livez" in span.name or "readyz" in span.name]


class LogTests:
    def test_has_one_line_for_each_request(self, server):
        status, headers, answer = server.call(
            "POST", "/api/v1/orders", order(), **{"Idempotency-Key": "key-1", "X-Request-Id": "r-1"}
        )

        (line,) = lines_of(server, message="request", request_id="r-1")
        assert status == 201
        assert 0 < line.pop("duration_ms") < 15_000
        assert line.pop("time").endswith("Z")
        assert line == {
            "message": "request",
            "level": "info",
            "logger": "request",
            "method": "POST",
            "route": "api/v1/orders",
            "status": 201,
            "request_id": "r-1",
            "trace_id": trace_of(headers),
            "account_id": 1,
            "idempotency_key_sha256": hashlib.sha256(b"key-1").hexdigest()[:16],
            "served": {"orders.place": "v2"},
            "generation": 0,
        }

        place = json.loads(answer)["id"]
        server.call("GET", f"/api/v1/orders/{place}", **{"X-Request-Id": "r-2"})
        (read,) = lines_of(server, request_id="r-2")
        assert (read["route"], read["order_id"]) == ("api/v1/orders/<uuid:order_id>", place)

    def test_names_the_refusal(self, server):
        server.call("POST", "/api/v1/orders", order(10_000), **{"X-Request-Id": "r-refused"})
        server.call("GET", "/api/v1/nothing", **{"X-Request-Id": "r-unknown"})

        (refused,) = lines_of(server, request_id="r-refused")
        (unknown,) = lines_of(server, request_id="r-unknown")
        assert (refused["status"], refused["code"]) == (409, "insufficient_stock")
        assert (unknown["status"], unknown["code"], unknown["route"]) == (404, "not_found", None)

    def test_holds_nothing_that_a_caller_sent(self, server):
        server.call(
            "POST",
            f"/api/v1/orders?{CANARY}=1",
            order(reference=CANARY, customer=CANARY),
            **{"Idempotency-Key": CANARY, "User-Agent": CANARY, "Cookie": CANARY},
        )
        server.call("GET", f"/api/v1/{CANARY}", Authorization=f"Bearer {CANARY}")
        server.call("POST", "/api/v1/orders", {CANARY: CANARY})

        assert CANARY not in server.log_text()
        assert server.api_key not in server.log_text()

    def test_each_line_is_one_whatever_a_caller_sends(self, server):
        before = len(lines_of(server))

        # Bytes that a line of text must not hold, in every place that reaches a log.
        server.call("GET", "/api/v1/%0d%0aforged%20line%1b[2J", **{"X-Request-Id": "a b"})

        (line,) = lines_of(server)[before:]
        assert (line["message"], line["status"]) == ("request", 404)

    def test_a_slow_statement_names_its_function_and_its_trace(self, server):
        # As it is in the middle of a day: prepared by the server, on each connection of the pool.
        for _ in range(80):
            assert server.call("POST", "/api/v1/orders", order())[0] == 201
        with stock_locked(server, "CUP"):
            call = begun(server, order())
            wait_for_a_waiter(server)
        headers = ended(call)

        (slow,) = lines_of(server, message="slow statement", trace_id=trace_of(headers))
        assert slow["function"] == "inventory.storage.lock_stock"
        assert slow["statement"].startswith("SELECT l.id, s.code")
        assert 100 < slow["duration_ms"] < 15_000
        assert slow["level"] == "warning"

    def test_a_slow_statement_of_django_is_told_without_its_values(self, server):
        key = key_of_a_reader(server)
        with server.database.connect() as other, other.transaction():
            other.execute("LOCK TABLE orders_order")
            caller = HTTPConnection("127.0.0.1", server.port, timeout=15)
            caller.request(
                "GET",
                f"/api/v1/orders?customer={CANARY}",
                headers={"Authorization": f"Bearer {key}"},
            )
            wait_for_a_waiter(server)
        headers = ended(caller)

        (slow,) = lines_of(server, message="slow statement", trace_id=trace_of(headers))
        assert slow["function"] == "orders.storage._read_orders"
        assert '"customer" = %s' in slow["statement"]

    def test_the_next_request_of_a_connection_has_ids_of_its_own(self, server):
        caller = HTTPConnection("127.0.0.1", server.port, timeout=15)
        traces = []
        for name in ("kept-1", "kept-2"):
            sent = {"Authorization": f"Bearer {server.api_key}"}
            caller.request("GET", "/api/v1/orders", headers=sent | {"X-Request-Id": name})
            answer = caller.getresponse()
            answer.read()
            (line,) = lines_of(server, message="request", request_id=name)
            assert line["trace_id"] == trace_of(answer.headers)
            traces.append(line["trace_id"])
        caller.request("GET", "/api/v1/orders")
        trace_id = trace_of(ended(caller))

        (stranger,) = lines_of(server, message="request", trace_id=trace_id)
        assert stranger["request_id"] == trace_id
        assert "account_id" not in stranger
        assert len({*traces, trace_id}) == 3

    def test_of_gunicorn_itself_has_the_same_form(self, server):
        message = "Using worker: config.worker.Worker"
        (start,) = lines_of(server, logger="gunicorn.error", message=message)

        assert start["level"] == "info"

"""What a call meets before Django: the gate, the deadline, a body that does not come."""

import io
import json
import socket
import threading
import time
from collections.abc import Iterable
from types import SimpleNamespace
from unittest import mock

import gevent
import pytest
from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.signals import connection_created
from django.test import SimpleTestCase, TestCase, override_settings
from gevent import getcurrent
from prometheus_client import REGISTRY

from config.deadlines import NAME, NEVER, DeadlineExceeded
from config.gate import Overloaded, Rank
from config.metrics import refusals_with
from config.overload import Admission
from config.problems import problem
from config.wsgi import application
from tests.api.test_problems import MEMBERS
from tests.builders import given_api_key

GATE = {
    "GATE_ORDERS_MAX": 2,
    "GATE_OTHERS_MAX": 1,
    "GATE_WAITING_MAX": 0,
    "GATE_WAIT_MS_MAX": 10,
}

TRACEPARENT = f"00-{18:032x}-{1:016x}-01"


def environ_of(method: str, path: str, body: bytes = b"", **more) -> dict:
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(len(body)) if body else "",
        "wsgi.input": io.BytesIO(body),
    } | more


class Answer:
    """What an application answers to one call."""

    def __init__(self, answering, environ: dict) -> None:
        parts = answering(environ, self.start)
        self.content = b"".join(parts)

    def start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers = int(status[:3]), dict(headers)

    def refused(self, status: int, code: str) -> None:
        problem = json.loads(self.content)
        assert set(problem) >= MEMBERS
        assert (self.status, problem["code"]) == (status, code)
        assert (problem["effect"], problem["errors"]) == ("none", [])
        assert self.headers["Content-Type"] == "application/problem+json"
        assert self.headers["Content-Length"] == str(len(self.content))
        assert self.headers["X-Request-Id"] == problem["request_id"]


def refused_count(rank: str, reason: str) -> float:
    return REGISTRY.get_sample_value("gate_refused_total", {"rank": rank, "reason": reason}) or 0


@override_settings(**GATE)
class AdmissionTests(SimpleTestCase):
    def setUp(self):
        self.admission = Admission(self.serve)
        self.bodies: list[bytes] = []

    def serve(self, environ, start_response) -> Iterable[bytes]:
        self.bodies.append(environ["wsgi.input"].read())
        self.under_way = self.admission.gate.orders, self.admission.gate.others
        start_response("200 OK", [])
        return [b"served"]

    def call(self, path: str, method: str = "GET", **more) -> Answer:
        body = b"{}" if method == "POST" else b""
        return Answer(self.admission, environ_of(method, path, body, **more))

    def test_a_call_has_a_place_while_it_is_served(self):
        self.call("/api/v1/orders", "POST")
        assert self.under_way == (1, 0)

        self.call("/api/v1/orders")
        assert self.under_way == (0, 1)
        assert (self.admission.gate.orders, self.admission.gate.others) == (0, 0)
        assert self.bodies == [b"{}", b""]

    def test_a_call_without_a_place_is_not_begun(self):
        before = refused_count("list", "full")
        self.admission.gate.enter(Rank.CHANGE)

        answer = self.call("/api/v1/orders", HTTP_X_REQUEST_ID="shop-17")

        answer.refused(503, "overloaded")
        assert json.loads(answer.content)["retryable"] is True
        assert answer.headers["X-Request-Id"] == "shop-17"
        assert answer.headers["Retry-After"] in ("1", "2", "3")
        assert self.bodies == []
        assert refused_count("list", "full") == before + 1

    def test_a_refusal_is_told_of_its_call_and_counted_at_any_address(self):
        self.admission.gate.enter(Rank.CHANGE)
        begun = refusals_with("overloaded")._value.get()
        paths = ("/api/v1/orders", "/api/v1/skus/50%(trace_id)s", "/api/v1/skus/%s/größe".encode())

        for trace_id in (f"{n:032x}" for n in range(1, 4)):
            for path in paths:
                sent = path if isinstance(path, str) else path.decode("latin-1")
                answer = self.call(
                    sent,
                    HTTP_X_REQUEST_ID=f"shop-{trace_id[-1]}",
                    HTTP_TRACEPARENT=f"00-{trace_id}-{1:016x}-01",
                )

                answer.refused(503, "overloaded")
                told = json.loads(answer.content)
                name = sent.encode("latin-1").decode()
                ids = SimpleNamespace(path=name, trace_id=trace_id, request_id=told["request_id"])
                assert ids.request_id == f"shop-{trace_id[-1]}"
                _, headers, body = problem(ids, Overloaded("full"))
                assert told == json.loads(body)
                assert {*headers, "X-Request-Id", "X-Content-Type-Options", "Cache-Control"} == {
                    *answer.headers
                }
        assert refusals_with("overloaded")._value.get() == begun + 9
        assert self.bodies == []

    @mock.patch("random.random", return_value=0.5)
    @mock.patch("random.getrandbits", return_value=17)
    def test_an_order_too_many_is_told_at_once_what_it_is_told_otherwise(self, *_):
        self.admission.gate.orders = 2

        def counted() -> list[float]:
            return [refused_count("place", "full"), refusals_with("overloaded")._value.get()]

        for ids in ({}, {"HTTP_X_REQUEST_ID": "shop-17", "HTTP_TRACEPARENT": TRACEPARENT}):
            environ = environ_of("POST", "/api/v1/orders", b"{}", **ids)
            before = counted()
            told = self.admission.refuse_at_once(environ)
            after = counted()
            answer = Answer(self.admission, environ)

            assert (int(told.status[:3]), told.body) == (answer.status, answer.content)
            assert told.lines == "".join(f"{n}: {v}\r\n" for n, v in answer.headers.items())
            assert after == [count + 1 for count in before]
        assert json.loads(told.body)["request_id"] == "shop-17"
        assert (self.bodies, self.admission.gate.orders) == ([], 2)

    def test_only_an_order_too_many_is_told_at_once(self):
        full = {"orders": 2, "others": 1}
        for method, path, places in [
            ("POST", "/api/v1/orders", {"orders": 1, "others": 1}),
            ("POST", "/api/v1/orders", {"orders": 0, "others": 1}),
            ("GET", "/api/v1/orders", full),
            ("PUT", "/api/v1/orders", full),
            ("POST", "/api/v1/orders/bulk", full),
            ("POST", "/api/v1/orders/", full),
            ("GET", "/livez", full),
        ]:
            vars(self.admission.gate).update(places)
            assert self.admission.refuse_at_once(environ_of(method, path)) is None

    def test_people_read_that_it_is_busy(self):
        self.admission.gate.enter(Rank.CHANGE)

        page = self.call("/admin/")

        assert page.status == 503
        assert page.headers["Content-Type"].startswith("text/html")
        assert b"Go back and try again" in page.content
        assert page.headers["Content-Length"] == str(len(page.content))

    def test_a_refusal_of_head_has_no_body(self):
        self.admission.gate.enter(Rank.CHANGE)

        assert self.call("/api/v1/orders", "HEAD").content == b""

    def test_orders_and_probes_come_in_where_others_do_not(self):
        self.admission.gate.enter(Rank.CHANGE)

        assert self.call("/api/v1/orders", "POST").status == 200
        assert self.call("/livez").status == 200
        assert self.call("/readyz").status == 200

    def test_what_raises_gives_its_place_back(self):
        self.admission.application = self.fail_to_serve

        for method in ("POST", "GET"):
            with pytest.raises(ZeroDivisionError):
                self.call("/api/v1/orders", method)
        assert (self.admission.gate.orders, self.admission.gate.others) == (0, 0)

    def fail_to_serve(self, environ, start_response) -> Iterable[bytes]:
        raise ZeroDivisionError

    def test_a_body_that_the_edge_will_refuse_is_not_read(self):
        with override_settings(BULK_BODY_BYTES_MAX=1):
            self.call("/api/v1/orders", "POST")

        assert self.bodies == [b"{}"]  # By the application itself.

    def test_the_server_serves_through_the_gate(self):
        assert isinstance(application, Admission)


@override_settings(REQUEST_DEADLINE_S=0.2)
class SlowBodyTests(SimpleTestCase):
    def setUp(self):
        self.sender, receiver = socket.socketpair()
        stream = receiver.makefile("rb")
        self.served: list[bytes] = []
        for each in (self.sender, receiver, stream):
            self.addCleanup(each.close)
        self.environ = environ_of("POST", "/api/v1/orders", bytes(10)) | {
            "wsgi.input": stream,
            "gunicorn.socket": receiver,
        }

    def answer(self) -> Answer:
        def serve(environ, start_response):
            self.served.append(environ["wsgi.input"].read())
            start_response("200 OK", [])
            return []

        return Answer(Admission(serve), self.environ)

    def drip(self) -> None:
        for _ in range(30):
            try:
                self.sender.send(b"x")
            except OSError:
                return
            time.sleep(0.5)

    def test_a_body_that_drips_is_no_longer_listened_to(self):
        dripping = threading.Thread(target=self.drip)
        began = time.monotonic()
        dripping.start()

        answer = self.answer()

        self.sender.close()
        dripping.join()
        answer.refused(408, "body_too_slow")
        assert time.monotonic() - began < 4
        assert self.served == []

    def test_a_body_whose_sender_hangs_up_is_refused(self):
        self.sender.send(b"{}")
        self.sender.close()

        self.answer().refused(400, "malformed_request")

        assert self.served == []

    def test_a_body_that_comes_in_parts_is_read_whole(self):
        self.sender.send(b"01234")
        threading.Timer(0.05, self.sender.send, [b"56789"]).start()

        assert self.answer().status == 200
        assert self.served == [b"0123456789"]


@override_settings(REQUEST_DEADLINE_S=0)
class DeadlineTests(TestCase):
    def setUp(self):
        self.addCleanup(connection.execute_wrappers.clear)
        connection_created.send(DatabaseWrapper, connection=connection)

    def ask_database(self, environ, start_response) -> Iterable[bytes]:
        start_response("200 OK", [])
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return [b"served"]

    def test_a_reading_call_begins_no_statement_after_its_deadline(self):
        with pytest.raises(DeadlineExceeded):
            Answer(Admission(self.ask_database), environ_of("GET", "/api/v1/orders"))

    def test_the_next_call_on_a_connection_has_a_deadline_of_its_own(self):
        self.test_a_reading_call_begins_no_statement_after_its_deadline()

        self.test_a_writing_call_is_not_stopped_in_its_midst()
        with override_settings(REQUEST_DEADLINE_S=10):
            answer = Answer(Admission(self.ask_database), environ_of("GET", "/api/v1/orders"))
        assert answer.content == b"served"

    def test_what_a_call_starts_and_outlives_it_has_none(self):
        started = []

        def start_something(environ, start_response) -> Iterable[bytes]:
            started.append(gevent.spawn(self.ask_database, {}, lambda *_: None))
            start_response("200 OK", [])
            return []

        Answer(Admission(start_something), environ_of("GET", "/api/v1/orders"))

        assert started[0].get(timeout=5) == [b"served"]

    def test_a_stream_that_has_begun_is_sent_to_its_end(self):
        def stream(environ, start_response) -> Iterable[bytes]:
            start_response("200 OK", [])
            return (part for _ in range(2) for part in self.ask_database({}, lambda *_: None))

        answer = Answer(Admission(stream), environ_of("GET", "/api/v1/orders/export"))

        assert answer.content == b"servedserved"

    def test_a_call_that_asks_no_database_takes_no_connection(self):
        def serve(environ, start_response) -> Iterable[bytes]:
            start_response("200 OK", [])
            return [b"served"]

        with mock.patch("django.utils.connection.BaseConnectionHandler.__getitem__") as asked:
            Answer(Admission(serve), environ_of("GET", "/api/v1/orders"))

        asked.assert_not_called()

    def test_a_writing_call_is_not_stopped_in_its_midst(self):
        answer = Answer(Admission(self.ask_database), environ_of("DELETE", "/api/v1/orders"))

        assert answer.content == b"served"


class ReadingTests(TestCase):
    def test_a_connection_that_reads_all_day_carries_nothing_along(self):
        self.addCleanup(connection.execute_wrappers.clear)
        key = given_api_key()
        more = {"HTTP_HOST": "localhost", "QUERY_STRING": "", "HTTP_AUTHORIZATION": f"Bearer {key}"}
        behind = []
        for _ in range(3):
            answer = Answer(application, environ_of("GET", "/api/v1/orders", **more))
            assert answer.status == 200
            behind.append((len(connection.execute_wrappers), getattr(getcurrent(), NAME)))

        assert behind == [(1, NEVER)] * 3  # Who signs the statements, and no deadline.

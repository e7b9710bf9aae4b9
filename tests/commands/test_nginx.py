"""deploy/nginx as it is shipped: what it lets through, takes away and refuses."""

import json
import ssl
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from config.errors import (
    BodyTooLarge,
    HttpsRequired,
    NotFound,
    OutcomeUnknown,
    TooManyRequests,
)
from tests.commands.processes import free_port
from tests.edge import Nginx, nginx

pytestmark = pytest.mark.prove


class Mirror(ThreadingHTTPServer):
    """An application that answers with what it was sent; /hang-up hangs up, having read all."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), MirrorHandler)
        self.seen: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        return self.server_address[1]


class MirrorHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Mirror

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(f"{self.command} {self.path}")
        if self.path == "/hang-up":
            self.close_connection = True
            self.connection.shutdown(2)
            return
        told = {name.lower(): text for name, text in self.headers.items()}
        answer = json.dumps({"headers": told, "bytes": len(body)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_PATCH = do_GET  # noqa: N815 - names of the library

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def mirrors() -> Iterator[tuple[Mirror, Mirror]]:
    pair = Mirror(), Mirror()
    yield pair
    for mirror in pair:
        mirror.shutdown()
        mirror.server_close()


@pytest.fixture
def edge(mirrors: tuple[Mirror, Mirror]) -> Iterator[Nginx]:
    with nginx([mirror.port for mirror in mirrors]) as running:
        yield running


def ask(
    port: int, path: str, *, method: str = "GET", body: Any = None, **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return status, body and headers of one request."""
    caller = HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        caller.request(method, path, body, {n.replace("_", "-"): t for n, t in headers.items()})
        answer = caller.getresponse()
        text = answer.read()
        is_json = answer.headers.get("Content-Type", "json").endswith("json")
        return answer.status, json.loads(text) if is_json else {}, dict(answer.headers)
    finally:
        caller.close()


class HeadersTests:
    def test_claims_of_a_caller_about_itself_are_not_passed_on(self, edge: Nginx) -> None:
        _, told, _ = ask(
            edge.port,
            "/api/v1/orders",
            x_deploy_version="v2",
            x_forwarded_for="10.0.0.1",
            x_forwarded_proto="https",
            x_forwarded_host="evil.example",
            x_real_ip="10.0.0.1",
            forwarded="for=10.0.0.1",
            x_request_id="shop-17",
            authorization="Bearer sk_1",
        )

        headers = told["headers"]
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert headers["x-forwarded-proto"] == "http"
        assert {"x-deploy-version", "x-forwarded-host", "x-real-ip", "forwarded"}.isdisjoint(
            headers
        )
        # What is the caller's to say is passed on.
        assert (headers["x-request-id"], headers["authorization"]) == ("shop-17", "Bearer sk_1")

    def test_a_version_is_let_through_from_where_the_operator_says(
        self, mirrors: tuple[Mirror, Mirror]
    ) -> None:
        inside = {"# 10.0.0.0/8 1;": "127.0.0.0/8 1;"}
        with nginx([mirror.port for mirror in mirrors], **inside) as edge:
            _, told, _ = ask(edge.port, "/api/v1/orders", x_deploy_version="v2")

        assert told["headers"]["x-deploy-version"] == "v2"

    def test_tls_is_told_to_the_application(self, edge: Nginx) -> None:
        trusted = ssl.create_default_context(cafile=str(edge.folder / "fullchain.pem"))
        caller = HTTPSConnection("127.0.0.1", edge.tls_port, context=trusted)
        trusted.check_hostname = False
        try:
            caller.request("GET", "/api/v1/orders", headers={"Host": "shop.example"})
            told = json.loads(caller.getresponse().read())
        finally:
            caller.close()

        assert told["headers"]["x-forwarded-proto"] == "https"
        assert told["headers"]["host"] == "shop.example"


class RefusalsTests:
    def assert_problem(self, answer: tuple[int, dict[str, Any], Any], refusal: type[Any]) -> None:
        _, told, headers = answer
        assert headers["Content-Type"] == "application/problem+json"
        assert (told["code"], told["retryable"], told["effect"]) == (
            refusal.code,
            refusal.retryable,
            refusal.effect,
        )

    def test_a_body_that_comes_in_chunks_arrives_whole_with_its_length(self, edge: Nginx) -> None:
        _, told, _ = ask(edge.port, "/api/v1/orders", method="POST", body=iter([b"12", b"345"]))

        assert told["bytes"] == 5
        assert told["headers"]["content-length"] == "5"
        assert "transfer-encoding" not in told["headers"]

    def test_bodies_have_the_limits_of_the_application(
        self, edge: Nginx, mirrors: tuple[Mirror, Mirror]
    ) -> None:
        for path, bytes_max in (("/api/v1/orders", 131072), ("/api/v1/orders/bulk", 1048576)):
            status, told, _ = ask(edge.port, path, method="POST", body=b"x" * bytes_max)
            assert (status, told["bytes"]) == (200, bytes_max)

            refused = ask(edge.port, path, method="POST", body=b"x" * (bytes_max + 1))
            assert refused[0] == 413
            self.assert_problem(refused, BodyTooLarge)
        assert sum(len(mirror.seen) for mirror in mirrors) == 3  # The probe of the start, and two.

    def test_calls_in_the_clear_are_refused_and_people_are_led_to_tls(self, edge: Nginx) -> None:
        refused = ask(edge.redirect_port, "/api/v1/orders")
        led, _, headers = ask(edge.redirect_port, "/admin/")

        assert refused[0] == 403
        self.assert_problem(refused, HttpsRequired)
        assert (led, headers["Location"]) == (301, "https://127.0.0.1/admin/")

    def test_metrics_are_not_for_outside(self, edge: Nginx) -> None:
        refused = ask(edge.port, "/metrics")

        assert refused[0] == 404
        self.assert_problem(refused, NotFound)

    def test_one_address_that_asks_too_much_is_told_when_to_come_back(
        self, mirrors: tuple[Mirror, Mirror]
    ) -> None:
        with nginx([mirror.port for mirror in mirrors], rate_one="1r/s") as edge:
            answers = [ask(edge.port, "/api/v1/orders") for _ in range(260)]

        refused = [answer for answer in answers if answer[0] == 429]
        assert 40 <= len(refused) <= 60  # A burst of 200 is allowed.
        self.assert_problem(refused[0], TooManyRequests)
        assert {answer[2]["Retry-After"] for answer in refused} == {"1", "2", "3"}


class RetriesTests:
    def test_a_post_that_was_sent_is_never_sent_again(
        self, edge: Nginx, mirrors: tuple[Mirror, Mirror]
    ) -> None:
        for method in ("POST", "PATCH"):
            status, told, _ = ask(edge.port, "/hang-up", method=method, body=b"{}")
            assert (status, told["code"], told["effect"]) == (
                503,
                OutcomeUnknown.code,
                OutcomeUnknown.effect,
            )
            seen = [line for mirror in mirrors for line in mirror.seen]
            assert seen.count(f"{method} /hang-up") == 1

    def test_a_read_is_asked_of_the_next_server(
        self, edge: Nginx, mirrors: tuple[Mirror, Mirror]
    ) -> None:
        ask(edge.port, "/hang-up")

        assert [mirror.seen.count("GET /hang-up") for mirror in mirrors] == [1, 1]

    def test_a_post_that_no_server_has_seen_goes_to_the_next(
        self, mirrors: tuple[Mirror, Mirror]
    ) -> None:
        with nginx([free_port(), mirrors[0].port]) as edge:
            statuses = [
                ask(edge.port, "/api/v1/orders", method="POST", body=b"{}")[0] for _ in range(20)
            ]

        assert set(statuses) == {200}

"""What is counted of requests, and who is shown it."""

import json
import random
import string
from types import SimpleNamespace

from django.http import FileResponse, StreamingHttpResponse
from django.test import Client, RequestFactory, SimpleTestCase, override_settings

from config.measured import Measured, template_of
from tests.measured import Grown, Scrape, told

REQUESTS, DURATIONS = "http_server_requests_total", "http_server_duration_seconds_count"
IN_FLIGHT = "http_server_requests_in_flight"


def found(route):
    """Return a request that config.urls has found this route for."""
    request = RequestFactory().get("/whatever")
    request.resolver_match = SimpleNamespace(route=route)
    return request


@override_settings(ROOT_URLCONF="tests.api.edge_urls")
class RequestsTests(SimpleTestCase):
    def setUp(self):
        self.client = Client(raise_request_exception=False, headers={"host": "localhost"})

    def test_count_by_route_verb_and_status(self):
        grown = Grown()

        self.client.get("/api/v1/refuse/bug")

        route = "/api/v1/refuse/{kind}"
        assert grown.by(REQUESTS, route=route, method="GET", status="500") == 1
        assert grown.by(DURATIONS, route=route, service="sluice") == 1
        assert told().value(IN_FLIGHT) == 0

    def test_count_what_the_edge_refuses(self):
        grown = Grown()

        self.client.generic("BREW", "/api/v1/orders")

        assert grown.by(REQUESTS, route="other", method="other", status="405") == 1

    def test_make_no_series_out_of_what_a_caller_makes_up(self):
        dice = random.Random(7)
        self.client.get("/nowhere")
        self.client.generic("BREW", "/nowhere")
        self.client.generic("BREW", "/api/v1/x")
        before = told()

        for _ in range(200):
            word = "".join(dice.choices(string.ascii_letters + string.digits, k=12))
            method = dice.choice(["GET", word.upper()])
            self.client.generic(method, f"/{word}", headers={"user-agent": word, f"x-{word}": "1"})

        assert told().values.keys() == before.values.keys()
        assert told().value(REQUESTS) - before.value(REQUESTS) == 200

    def test_leave_probes_out(self):
        grown = Grown()

        self.client.get("/livez")

        assert grown.by(REQUESTS) == 0

    def test_count_a_stream_when_its_last_byte_is_sent(self):
        grown = Grown()
        stream = StreamingHttpResponse(iter([b"a", b"b"]))

        answer = Measured(lambda _: stream)(found("files"))
        assert (grown.by(IN_FLIGHT), grown.by(REQUESTS)) == (1, 0)
        answer.close()
        answer.close()

        assert (grown.by(IN_FLIGHT), grown.by(REQUESTS, route="/files")) == (0, 1)
        assert grown.by(DURATIONS, route="/files") == 1

    def test_count_a_file_that_the_server_sends_by_itself(self):
        grown = Grown()
        with open(__file__, "rb") as file:
            answer = Measured(lambda _: FileResponse(file))(found("files"))

            # As Django hands it to the wrapper of the server, which closes what it has sent.
            assert answer.file_to_stream is file
            answer.close()

        assert (grown.by(IN_FLIGHT), grown.by(REQUESTS, route="/files", status="200")) == (0, 1)

    def test_do_not_measure_how_long_somebody_listens(self):
        grown = Grown()
        events = StreamingHttpResponse(iter([b": ok\n\n"]), content_type="text/event-stream")

        Measured(lambda _: events)(found("events")).close()

        assert grown.by(REQUESTS, route="/events") == 1
        assert grown.by(DURATIONS, route="/events") == 0

    def test_are_not_in_flight_any_more_when_they_are_killed(self):
        def die(_):
            raise SystemExit

        grown = Grown()
        with self.assertRaises(SystemExit):
            Measured(die)(found("files"))

        assert (grown.by(IN_FLIGHT), grown.by(REQUESTS)) == (0, 0)


class TemplateTests(SimpleTestCase):
    def test_is_the_route_as_the_documentation_writes_it(self):
        assert template_of("api/v1/orders/<uuid:order_id>") == "/api/v1/orders/{order_id}"
        assert template_of("api/errors/<code>") == "/api/errors/{code}"
        stock = "api/v1/stock/(?P<code>[A-Za-z0-9._-]{1,64})/receipts$"
        assert template_of(stock) == "/api/v1/stock/{code}/receipts"

    def test_is_one_for_the_back_office(self):
        assert template_of("admin/orders/order/<path:object_id>/change/") == "/admin/"


class PageTests(SimpleTestCase):
    def setUp(self):
        self.client = Client(headers={"host": "localhost"})

    def test_is_not_there_unless_asked_for(self):
        answer = self.client.get("/metrics")

        assert answer.status_code == 404
        assert json.loads(answer.content)["code"] == "not_found"

    @override_settings(METRICS_TOKEN="let-prometheus-in")
    def test_is_for_those_with_the_token(self):
        for shown in ("", "let-prometheus-in", "Bearer", "Bearer let-prometheus-in-x", "Basic é"):
            answer = self.client.get("/metrics", headers={"authorization": shown})
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert b"http_server" not in answer.content

        answer = self.client.get("/metrics", headers={"authorization": "Bearer let-prometheus-in"})
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert Scrape(answer.content.decode()).value(REQUESTS) >= 0

    @override_settings(METRICS_PORT="9100")
    def test_does_not_believe_a_header_that_names_its_port(self):
        answer = self.client.get("/metrics", SERVER_PORT="9100", headers={"host": "localhost:9100"})

        assert answer.status_code == 404
        assert answer.content.startswith(b"{")

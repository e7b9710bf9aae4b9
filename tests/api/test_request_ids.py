"""Caller and log speak of a request by one name."""

import re

from django.test import Client, SimpleTestCase, override_settings

from config.request_ids import current_request_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@override_settings(ROOT_URLCONF="tests.api.edge_urls")
class RequestIdTests(SimpleTestCase):
    def setUp(self):
        self.client = Client(raise_request_exception=False, headers={"host": "localhost"})

    def test_is_the_callers_and_bound_while_the_view_runs(self):
        response = self.client.get("/api/v1/echo", headers={"x-request-id": "shop-17"})

        assert response.headers["X-Request-Id"] == "shop-17"
        assert response.json() == {"request_id": "shop-17"}

    def test_is_ours_when_the_callers_is_odd(self):
        for wish in ("a b", "x" * 65, "a\nb", ""):
            response = self.client.get("/api/v1/echo", headers={"x-request-id": wish})

            assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-Id"])

    def test_is_another_for_each_request(self):
        ids = {self.client.get("/api/v1/echo").headers["X-Request-Id"] for _ in range(20)}

        assert len(ids) == 20

    def test_is_forgotten_after_an_answer_and_after_a_bug(self):
        for path in ("/api/v1/echo", "/api/v1/fail/bug", "/broken", "/nowhere"):
            self.client.get(path, headers={"x-request-id": "shop-17"})

            assert current_request_id() == "-"

    def test_stands_beside_the_trace_that_the_caller_is_part_of(self):
        response = self.client.get(
            "/nowhere",
            headers={"x-request-id": "shop-17", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
        )

        assert response.json()["trace_id"] == TRACE
        assert response.json()["request_id"] == "shop-17"

    def test_is_on_pages_and_refusals_as_well(self):
        for path in ("/admin/page", "/api/docs", "/api/schema", "/nowhere"):
            response = self.client.get(path, headers={"x-request-id": "shop-17"})

            assert response.headers["X-Request-Id"] == "shop-17"

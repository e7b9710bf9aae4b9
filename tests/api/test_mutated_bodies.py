"""No bytes that a caller can send make the edge stumble."""

import json

import pytest
from django.test import Client, SimpleTestCase, override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ORDER = (
    b'{"customer":"c-17 \\u00e9\\ud83d\\ude00","reference":null,"metadata":{"a":[1.5,true,[]]},'
    b'"lines":[{"sku":"22196","quantity":3},{"sku":"POST","quantity":1}]}'
)
FRAGMENTS = st.sampled_from(
    [b"\\u0000", b"\\ud800", b"\x00", b"\xff", b"NaN", b"1e999", b"[" * 40, b"{", b'"', b"\\", b","]
) | st.binary(max_size=6)


@st.composite
def mutated_orders(draw):
    """Return an order with one to three stretches of it replaced by something else."""
    body = ORDER
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 12)))
        body = body[:start] + draw(FRAGMENTS) + body[end:]
    return body


@override_settings(ROOT_URLCONF="tests.api.edge_urls")
class MutatedBodyTests(SimpleTestCase):
    def check(self, body):
        response = self.client.post("/api/v1/echo", body, content_type="application/json")

        assert response.status_code in {201, 400}, (body, response.content)
        if response.status_code == 400:
            assert response.headers["Content-Type"] == "application/problem+json"
            assert json.loads(response.content)["code"] == "malformed_json"

    def setUp(self):
        self.client = Client(raise_request_exception=False, headers={"host": "localhost"})

    @settings(max_examples=300, deadline=None)
    @given(mutated_orders())
    def test_each_is_answered_by_a_value_or_a_problem(self, body):
        self.check(body)

    @pytest.mark.prove
    @settings(max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(mutated_orders())
    def test_each_of_20000_is_answered_by_a_value_or_a_problem(self, body):
        self.check(body)

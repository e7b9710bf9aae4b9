"""No bytes that a caller can send make the edge or the business stumble."""

import copy
import json

import pytest
from django.test import Client, SimpleTestCase, override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from rest_framework.test import APIClient

from rollout.codepath import override
from tests.api.test_problems import MEMBERS
from tests.builders import given_api_key, given_stock, what_moved

ORDER = (
    b'{"customer":"c-17 \\u00e9\\ud83d\\ude00","reference":null,"metadata":{"a":[1.5,true,[]]},'
    b'"lines":[{"sku":"22196","quantity":3},{"sku":"POST","quantity":1}]}'
)
FRAGMENTS = st.sampled_from(
    [b"\\u0000", b"\\ud800", b"\x00", b"\xff", b"NaN", b"1e999", b"[" * 40, b"{", b'"', b"\\", b","]
) | st.binary(max_size=6)


A_LINE = {"sku": "CUP", "quantity": 3}
AN_ORDER = {
    "customer": "c-17",
    "reference": None,
    "lines": [A_LINE, {"sku": "POT", "quantity": 1}],
    "charges": [{"code": "postage", "name": "Postage", "amount_minor": 495}],
    "ship_to": {"name": "Ann", "lines": ["1 Road"], "city": "York", "country": "GB"},
    "metadata": {"a": [1.5, True, []]},
}
A_BULK = {
    "orders": [AN_ORDER | {"idempotency_key": f"b-{n}"} for n in (1, 2)]
    + [{"idempotency_key": "b-3", "customer": "c-18", "lines": [A_LINE]}]
}
BODIES = {
    "/api/v1/orders": AN_ORDER,
    "/api/v1/orders/bulk": A_BULK,
    "/api/v1/skus": {"code": "JUG", "name": "Jug", "price_minor": 900, "currency": "EUR"},
    "/api/v1/stock/CUP/receipts": {"quantity": 5, "reference": "PO-7", "location": "main"},
    "/api/v1/stock/CUP/adjustments": {"delta": -2, "reason": "damage"},
    "/api/v1/stock/POT/adjustments": {"on_hand": 9, "expected_on_hand": 10, "reason": "count"},
    "/api/v1/stock/availability": {"skus": ["CUP", "POT", "NONE"]},
}
ODD = st.sampled_from(
    [
        *(None, True, 0, -1, 1.0, 2.5, 10**30, 2**63, 2**31, -(2**63), 1e300, 11, 999_999_999_999),
        *("", "1", "１", "x" * 300, "CUP ", "CUP\n", "cup", "NONE", "é", "\u2028", "%00", "main2"),
        *([], {}, [[]], [None], {"": 0}, {"sku": "CUP"}, [A_LINE] * 1001, ["CUP"] * 501),
    ]
) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@st.composite
def changed_values(draw, value):
    """Return a JSON value as bytes, with one or two of its parts changed, dropped or added."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 2))):
        part = value
        while True:
            names = list(part) if isinstance(part, dict) else list(range(len(part)))
            name = draw(st.sampled_from(names)) if names else None
            inner = part[name] if names else None
            if not isinstance(inner, dict | list) or draw(st.integers(0, 3)) == 0:
                break
            part = inner
        match draw(st.sampled_from(["change", "change", "drop", "add"])):
            case "change" if names:
                part[name] = copy.deepcopy(draw(ODD))
            case "drop" if names:
                del part[name]
            case _ if isinstance(part, dict):
                added = draw(st.sampled_from(["unit_price_minor", "price", "hold", ""]))
                part[added] = copy.deepcopy(draw(ODD))
            case _:
                part.append(copy.deepcopy(draw(ODD)))
    return json.dumps(value, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


@st.composite
def mutated_bodies(draw, body=ORDER):
    """Return a body with one to three stretches of it replaced by something else."""
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
    @given(mutated_bodies())
    def test_each_is_answered_by_a_value_or_a_problem(self, body):
        self.check(body)

    @pytest.mark.prove
    @pytest.mark.paired
    @settings(max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(mutated_bodies())
    def test_each_of_20000_is_answered_by_a_value_or_a_problem(self, body):
        self.check(body)


@st.composite
def mutated_requests(draw):
    """Return an address and a body that is almost one of those it takes."""
    path = draw(st.sampled_from(sorted(BODIES)))
    body = BODIES[path]
    of_bytes = mutated_bodies(json.dumps(body).encode())
    return path, draw(of_bytes if draw(st.booleans()) else changed_values(body))


class MutatedRequestTests(TestCase):
    """What is refused with effect none leaves every table as it was."""

    # One for all: a client loads the middlewares anew, which takes longer than all the rest.
    caller = APIClient(raise_request_exception=False)

    @classmethod
    def setUpTestData(cls):
        given_stock("CUP", on_hand=10)
        given_stock("POT", on_hand=10)
        cls.api_key = given_api_key()
        cls.before = what_moved()

    def check(self, path, body):
        # A batch in a transaction of its own cannot run inside the transaction of this test.
        with override(orders_place="v1"):
            response = self.caller.post(
                path,
                body,
                content_type="application/json",
                headers={"Idempotency-Key": "k-1", "Authorization": f"Bearer {self.api_key}"},
            )

        assert response.status_code < 500, (path, body, response.content)
        if response.status_code >= 400:
            self.check_problem(path, body, response)
        elif path.endswith("/bulk"):
            for result in response.json()["data"]:
                assert result["status"] in {201, 400, 409, 422}, (body, result)

    def check_problem(self, path, body, response):
        problem = response.json()
        assert response.headers["Content-Type"] == "application/problem+json"
        assert set(problem) >= MEMBERS
        assert problem["effect"] == "none", (path, body, problem)
        # The refusal of a conflict is kept as the answer of its key; nothing else moves.
        is_kept = response.status_code in {409, 412} and problem["code"] != "sku_exists"
        keys = self.before["answered_keys"] + is_kept
        assert what_moved() == self.before | {"answered_keys": keys}, (path, body, problem)

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(mutated_requests())
    def test_each_is_answered_in_the_one_shape(self, request):
        self.check(*request)

    @pytest.mark.prove
    @pytest.mark.paired
    @settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutated_requests())
    def test_each_of_20000_is_answered_in_the_one_shape(self, request):
        self.check(*request)

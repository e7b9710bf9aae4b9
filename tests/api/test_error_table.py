"""Each row of the error table: what is told, and that nothing moved."""

import json
from uuid import uuid4

from django.test import Client, TestCase

from rollout.codepath import override
from tests.api.caller import Caller
from tests.api.test_problems import MEMBERS
from tests.builders import (
    given_account,
    given_api_key,
    given_sku,
    given_stock,
    level_of,
    what_moved,
)

ORDER = {"customer": "c-17", "lines": [{"sku": "CUP", "quantity": 3}]}
CUP = {"sku": "CUP", "quantity": 1}


class ErrorTable:
    """What every row has: a shop with a key, ten cups, and a way to look at a refusal."""

    def setUp(self):
        given_stock("CUP", on_hand=10)
        self.api_key = given_api_key()
        self.shop = Caller(self.api_key)
        self.shop.client.raise_request_exception = False
        self.before = what_moved()

    def refused(self, response, status, code, *, retryable=False, effect="none", moved=None):
        """Return the problem, after checking the row and that nothing but `moved` moved."""
        assert response.status_code == status, response.content
        assert response.headers["Content-Type"] == "application/problem+json"
        problem = json.loads(response.content)
        assert set(problem) >= MEMBERS
        assert (problem["code"], problem["retryable"], problem["effect"]) == (
            code,
            retryable,
            effect,
        )
        assert ("Retry-After" in response.headers) is (retryable and status != 500)
        assert what_moved() == self.before | (moved or {})
        return problem

    def post(self, body=ORDER, path="/orders", **more):
        return self.shop.post(path, body, **more)

    def order(self, **more):
        return self.post(ORDER | more)


class RowTests(ErrorTable, TestCase):
    def setUp(self):
        super().setUp()
        # A batch in a transaction of its own cannot run inside the transaction of this test.
        self.enterContext(override(orders_place="v1"))

    def faults(self, response):
        problem = self.refused(response, 422, "validation_failed")
        return {(fault["pointer"], fault["code"]) for fault in problem["errors"]}

    def test_not_json(self):
        for body in (
            b"{",
            b" ",
            b'{"customer": "c\xff"}',
            b'{"customer": "c-17", "customer": "c-18"}',
            b'{"metadata": {"n": NaN}}',
            b'{"metadata": {"n": 1e999}}',
            b'{"metadata": ' + b"[" * 33 + b"]" * 33 + b"}",
            b'{"customer": "c\\u0000"}',
            b'{"customer": "c\\ud800"}',
            b"[" * 20_000,
        ):
            self.refused(self.post(body), 400, "malformed_json")

    def test_no_key(self):
        response = self.shop.client.post("/api/v1/orders", ORDER, format="json")

        self.refused(response, 400, "idempotency_key_missing")

    def test_a_key_that_is_none(self):
        for key in (" ", '""', "x" * 256, "clé", "a\x7fb", "a\tb", "k-1, k-2", "k-1,k-1"):
            response = self.shop.client.post(
                "/api/v1/orders", ORDER, format="json", headers={"Idempotency-Key": key}
            )
            self.refused(response, 400, "idempotency_key_invalid")

    def test_a_key_that_is_none_moves_no_stock_either(self):
        for path, body in (
            ("/stock/CUP/receipts", {"quantity": 5}),
            ("/stock/CUP/adjustments", {"delta": -1, "reason": "loss"}),
        ):
            for key, code in ((None, "missing"), ("a,b", "invalid")):
                response = self.shop.client.post(
                    f"/api/v1{path}",
                    body,
                    format="json",
                    headers={} if key is None else {"Idempotency-Key": key},
                )
                self.refused(response, 400, f"idempotency_key_{code}")

    def test_no_credential_or_a_bad_one(self):
        # One key of 62 ends with an x.
        another_key = self.api_key[:-1] + ("y" if self.api_key.endswith("x") else "x")
        for headers in (
            {},
            {"Authorization": "Bearer sk_nonsense"},
            {"Authorization": f"Basic {self.api_key}"},
            {"Authorization": f"Bearer {another_key}"},
        ):
            response = Client().post(
                "/api/v1/orders",
                ORDER,
                content_type="application/json",
                headers={"Idempotency-Key": "k-1"} | headers,
            )
            self.refused(response, 401, "unauthenticated")
            assert response.headers["WWW-Authenticate"].startswith("Bearer")

    def test_not_allowed(self):
        reader = Caller(given_api_key(given_account(), "orders:read", "stock:read"))

        self.refused(reader.post("/orders", ORDER), 403, "forbidden")
        self.refused(reader.post("/orders/bulk", {"orders": [ORDER]}), 403, "forbidden")
        self.refused(reader.post("/stock/CUP/receipts", {"quantity": 5}), 403, "forbidden")
        body = {"code": "JUG", "name": "Jug", "price_minor": 1, "currency": "EUR"}
        self.refused(reader.post("/skus", body), 403, "forbidden")

    def test_missing_or_someone_elses(self):
        placed = self.order().json()
        stranger = Caller(given_api_key(given_account("stranger")))
        self.before = what_moved()

        for path in (f"/orders/{placed['id']}", f"/orders/{placed['id']}/events"):
            self.refused(stranger.get(path), 404, "order_not_found")
        self.refused(self.shop.get(f"/orders/{uuid4()}"), 404, "order_not_found")
        self.refused(self.shop.get("/orders/17"), 404, "not_found")
        self.refused(self.shop.get("/stock/NONE"), 404, "sku_not_found")
        self.refused(self.post({"quantity": 1}, "/stock/NONE/receipts"), 404, "sku_not_found")

    def test_encoded_in_another_charset_or_of_another_type(self):
        def send(**more):
            return self.shop.client.generic(
                "POST", "/api/v1/orders", json.dumps(ORDER), HTTP_IDEMPOTENCY_KEY="k-1", **more
            )

        for response in (
            send(content_type="application/json", HTTP_CONTENT_ENCODING="gzip"),
            send(content_type="application/json; charset=latin-1"),
            send(content_type="text/plain"),
        ):
            self.refused(response, 415, "unsupported_media_type")

    def test_chunked(self):
        response = self.post(**{"Transfer-Encoding": "chunked"})

        self.refused(response, 411, "length_required")

    def test_a_body_that_is_too_long(self):
        for path, bytes_max in (("/orders", 128 * 1024), ("/orders/bulk", 1024 * 1024)):
            body = json.dumps(ORDER | {"metadata": {"a": "x" * bytes_max}}).encode()

            problem = self.refused(self.post(body, path), 413, "body_too_large")

            assert problem["bytes_max"] == bytes_max

    def test_types_are_strict(self):
        for quantity in ("1", 1.0, True, None, "１", [1]):
            faults = self.faults(self.order(lines=[{"sku": "CUP", "quantity": quantity}]))

            assert faults == {("/lines/0/quantity", "wrong_type")}, quantity

    def test_a_quantity_out_of_range(self):
        for quantity, code in (
            (0, "too_small"),
            (-1, "too_small"),
            (1_000_001, "too_large"),
            (10**30, "too_large"),
        ):
            faults = self.faults(self.order(lines=[{"sku": "CUP", "quantity": quantity}]))

            assert faults == {("/lines/0/quantity", code)}, quantity

    def test_a_member_that_is_unknown_or_missing(self):
        assert self.faults(self.order(colour="red")) == {("/colour", "unknown_member")}
        assert self.faults(self.post({"customer": "c-17"})) == {("/lines", "missing")}
        assert self.faults(self.post([])) == {("", "wrong_type")}
        assert b"OrderIn" not in self.post([]).content

    def test_a_price_in_the_body(self):
        for name in ("unit_price_minor", "price_minor"):
            faults = self.faults(self.order(lines=[CUP | {name: 1}]))

            assert faults == {(f"/lines/0/{name}", "unknown_member")}

    def test_too_many_lines_or_none(self):
        assert self.faults(self.order(lines=[CUP] * 1001)) == {("/lines", "too_many")}
        assert self.faults(self.order(lines=[])) == {("/lines", "too_few")}

    def test_a_sku_that_is_unknown_or_not_active(self):
        given_sku("OLD", is_active=False)
        self.before = what_moved()

        faults = self.faults(
            self.order(lines=[CUP, {"sku": "NONE", "quantity": 1}, {"sku": "OLD", "quantity": 1}])
        )

        assert faults == {("/lines/1/sku", "sku_unknown"), ("/lines/2/sku", "sku_inactive")}

    def test_two_currencies(self):
        given_stock("POT", on_hand=5, currency="GBP")
        self.before = what_moved()

        faults = self.faults(self.order(lines=[CUP, {"sku": "POT", "quantity": 1}]))

        assert faults == {("/lines", "mixed_currencies")}

    def test_a_total_below_zero(self):
        discount = {"code": "gift", "name": "Gift", "amount_minor": -751}

        assert self.faults(self.order(charges=[discount])) == {("/charges", "total_out_of_range")}

    def test_a_query_that_is_wrong(self):
        for query, pointer in (
            ("limit=101", "/limit"),
            ("limit=0", "/limit"),
            ("cursor=!", "/cursor"),
            ("placed_after=yesterday", "/placed_after"),
            ("placed_after=2026-05-04T12:00:00", "/placed_after"),
            ("placed_after=9999-12-31T23:59:59-23:59", "/placed_after"),
            ("updated_since=0001-01-01T00:00:00%2B00:01", "/updated_since"),
            ("colour=red", "/colour"),
        ):
            faults = self.faults(self.shop.get(f"/orders?{query}"))

            assert {told for told, _ in faults} == {pointer}

    def test_an_instant_is_told_with_any_offset_of_the_day(self):
        for at in ("2026-05-04T12:00:00%2B23:59", "2026-05-04T12:00:00-23:59"):
            for name in ("placed_after", "placed_before", "updated_since"):
                assert self.shop.get(f"/orders?{name}={at}").status_code == 200, (name, at)

    def test_a_key_that_answered_another_body_or_address(self):
        self.post(key="k-1")
        self.before = what_moved()

        for path, body in (
            ("/orders", ORDER | {"customer": "c-18"}),
            ("/stock/CUP/receipts", {"quantity": 5}),
        ):
            self.refused(self.post(body, path, key="k-1"), 422, "idempotency_key_reused")

    def test_out_of_stock(self):
        keys = {"answered_keys": self.before["answered_keys"] + 1}

        problem = self.refused(
            self.order(lines=[{"sku": "CUP", "quantity": 11}]),
            409,
            "insufficient_stock",
            moved=keys,
        )

        assert problem["errors"] == [
            {
                "pointer": "/lines/0",
                "code": "insufficient_stock",
                "message": "SKU CUP: 11 requested, 10 available.",
                "sku": "CUP",
                "requested": 11,
                "available": 10,
            }
        ]

    def test_a_count_against_another_number(self):
        body = {"on_hand": 7, "expected_on_hand": 9, "reason": "count"}
        keys = {"answered_keys": self.before["answered_keys"] + 1}

        problem = self.refused(
            self.post(body, "/stock/CUP/adjustments"), 412, "precondition_failed", moved=keys
        )

        assert (problem["sku"], problem["on_hand"]) == ("CUP", 10)

    def test_more_taken_than_there_is(self):
        keys = {"answered_keys": self.before["answered_keys"] + 1}

        self.refused(
            self.post({"delta": -11, "reason": "loss"}, "/stock/CUP/adjustments"),
            409,
            "stock_below_zero",
            moved=keys,
        )

    def test_a_sku_that_exists(self):
        body = {"name": "Cup", "price_minor": 1, "currency": "EUR"}

        # The last three would have addresses that are taken, or that clients cannot write.
        for code in ("CUP", "availability", ".", ".."):
            self.refused(self.post(body | {"code": code}, "/skus"), 409, "sku_exists")

    def test_a_verb_that_is_not_served_and_an_address_that_is_not_there(self):
        response = self.shop.client.delete("/api/v1/orders")

        self.refused(response, 405, "method_not_allowed")
        assert response.headers["Allow"] == "GET, POST, HEAD, OPTIONS"
        self.refused(self.shop.get("/nowhere"), 404, "not_found")

    def test_one_bad_order_of_a_bulk_harms_no_other(self):
        good = ORDER | {"idempotency_key": "b-1"}
        orders = [good, good | {"customer": 17}, {}, good | {"idempotency_key": "a,b"}, 17]

        results = self.post({"orders": orders}, "/orders/bulk").json()["data"]

        assert [result["status"] for result in results] == [201, 422, 422, 400, 422]
        assert results[3]["body"]["code"] == "idempotency_key_invalid"
        assert all(set(result["body"]) >= MEMBERS for result in results[1:])
        assert level_of("CUP").allocated == 3
        assert what_moved()["orders"] == self.before["orders"] + 1

    def test_a_bulk_that_is_none(self):
        assert self.faults(self.post({"orders": []}, "/orders/bulk")) == {("/orders", "too_few")}
        many = {"orders": [0] * 501}
        assert self.faults(self.post(many, "/orders/bulk")) == {("/orders", "too_many")}

"""A call leaves no work for the garbage collector, in whose pauses all other calls wait."""

import gc
import json
from itertools import count, repeat
from uuid import uuid4

from django.test import RequestFactory, TestCase

from config.handler import Handler
from orders.models import Order
from rollout.codepath import override
from tests.builders import given_api_key, given_stock

CALLS = 20


class GarbageTests(TestCase):
    def setUp(self):
        given_stock("CUP", on_hand=100)
        self.headers = {"authorization": f"Bearer {given_api_key()}", "host": "localhost"}
        self.handler = Handler()
        self.keys = count()

    def call(self, method, path, body=None):
        request = RequestFactory().generic(
            method,
            path,
            json.dumps(body() if callable(body) else body) if body else b"",
            content_type="application/json" if body else "",
            headers={**self.headers, "idempotency-key": f"k-{next(self.keys)}"},
        )
        return self.handler.get_response(request).status_code

    def garbage_of(self, *call, status=None):
        """Return how many objects a call leaves that only the collector can free."""
        statuses = [self.call(*call) for _ in range(3)]
        gc.collect()
        gc.disable()
        try:
            statuses += [self.call(*call) for _ in range(CALLS)]
            left = gc.collect()
        finally:
            gc.enable()
        assert set(statuses) <= ({status} if status else {200, 201}), statuses
        return left / CALLS

    def test_of_an_order_is_none(self):
        order = {"customer": "c-17", "lines": [{"sku": "CUP", "quantity": 1}]}

        with override(orders_place="v1"):
            assert self.garbage_of("POST", "/api/v1/orders", order) < 1

    def test_of_reading_an_order_is_none(self):
        order = {"customer": "c-17", "lines": [{"sku": "CUP", "quantity": 1}]}
        with override(orders_place="v1"):
            self.call("POST", "/api/v1/orders", order)
        path = f"/api/v1/orders/{Order.objects.get().pk}"

        for version in ("v1", "v2"):
            with override(orders_get=version):
                assert self.garbage_of("GET", path) < 1

    def test_of_a_list_is_that_of_its_queries(self):
        order = {"customer": "c-17", "lines": [{"sku": "CUP", "quantity": 1}]}
        with override(orders_place="v1"):
            for _ in range(10):
                self.call("POST", "/api/v1/orders", order)

        # A query of Django's is three objects; the document of an order would be four.
        assert self.garbage_of("GET", "/api/v1/orders?limit=20") <= 6

    def bulk_of(self, sku):
        """Return what makes bulks of two orders, each with keys of its own."""

        def bulk():
            lines = [{"sku": sku, "quantity": 1}]
            keys = (f"b-{next(self.keys)}" for _ in range(2))
            orders = [{"idempotency_key": key, "customer": "c-1", "lines": lines} for key in keys]
            return {"orders": orders}

        return bulk

    def test_of_a_bulk_is_none(self):
        with override(orders_place="v1"):
            assert self.garbage_of("POST", "/api/v1/orders/bulk", self.bulk_of("CUP")) < 1

        assert Order.objects.count() == 2 * (CALLS + 3)

    def test_of_refusals_is_none(self):
        def order_of(sku, quantity):
            return {"customer": "c-17", "lines": [{"sku": sku, "quantity": quantity}]}

        refused = {
            "no such SKU": (422, "POST", "/api/v1/orders", order_of("NONE", 1)),
            "out of stock": (409, "POST", "/api/v1/orders", order_of("CUP", 101)),
            "no order": (422, "POST", "/api/v1/orders", {"lines": 7}),
            "no such SKU, in a bulk": (200, "POST", "/api/v1/orders/bulk", self.bulk_of("NONE")),
            "no order, in a bulk": (200, "POST", "/api/v1/orders/bulk", {"orders": [{}, {}]}),
            "no such order": (404, "GET", f"/api/v1/orders/{uuid4()}"),
            "no such page": (422, "GET", "/api/v1/orders?limit=0"),
            "no such verb": (405, "DELETE", "/api/v1/orders"),
        }

        with override(orders_place="v1"):
            for name, (status, *call) in refused.items():
                with self.subTest(name):
                    assert self.garbage_of(*call, status=status) < 1

        assert not Order.objects.exists()

    def test_of_the_same_request_again_is_none(self):
        line = {"sku": "CUP", "quantity": 1}
        for status, quantity in ((201, 1), (409, 101)):
            order = {"customer": "c-17", "lines": [line | {"quantity": quantity}]}
            self.keys = repeat(f"same-{quantity}")
            with override(orders_place="v1"):
                self.call("POST", "/api/v1/orders", order)
                with self.subTest(status=status):
                    assert self.garbage_of("POST", "/api/v1/orders", order, status=status) < 1

        assert Order.objects.count() == 1

"""A call leaves no work for the garbage collector, in whose pauses all other calls wait."""

import gc
import json
from itertools import count

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
            json.dumps(body) if body else b"",
            content_type="application/json" if body else "",
            headers={**self.headers, "idempotency-key": f"k-{next(self.keys)}"},
        )
        return self.handler.get_response(request).status_code

    def garbage_of(self, *call):
        """Return how many objects a call leaves that only the collector can free."""
        statuses = [self.call(*call) for _ in range(3)]
        gc.collect()
        gc.disable()
        try:
            statuses += [self.call(*call) for _ in range(CALLS)]
            left = gc.collect()
        finally:
            gc.enable()
        assert set(statuses) <= {200, 201}, statuses
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
        left = []
        for _ in range(2):
            with override(orders_place="v1"):
                for _ in range(10):
                    self.call("POST", "/api/v1/orders", order)
            left.append(self.garbage_of("GET", "/api/v1/orders?limit=20"))

        # The queries are Django's, and hold what they ask for; ten orders would be 130 objects.
        assert left[1] - left[0] < 50

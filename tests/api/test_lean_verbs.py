"""A lean verb tells what the same verb tells by REST framework's way."""

import json
from unittest import mock

from django.db import OperationalError
from django.test import RequestFactory, TestCase

from accounts import usecases as accounts
from accounts.authentication import keyring
from accounts.permissions import HasScope
from config.lean import LeanVerb
from orders import usecases
from orders.api.views import OrderViewSet
from orders.models import Order
from rollout.codepath import override
from tests.builders import given_account, given_api_key, given_stock

ACTIONS = {"get": "retrieve", "post": "create"}
ORDER = {"customer": "c-17", "lines": [{"sku": "CUP", "quantity": 1}]}


class LeanVerbTests(TestCase):
    def setUp(self):
        keyring.forget()
        given_stock("CUP", on_hand=100)
        self.key = given_api_key()
        # Group commit refuses to begin inside the transaction of a test.
        self.enterContext(override(orders_place="v1"))
        self.usual = OrderViewSet.as_view(ACTIONS)

    def told(self, view, method, *, body=b"", key=None, idempotency_key="", **found):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        if idempotency_key:
            headers["idempotency-key"] = idempotency_key
        request = RequestFactory().generic(
            method, "/api/v1/orders", body, content_type="application/json", headers=headers
        )
        request.request_id = request.trace_id = "0" * 32
        answer = view(request, **found)
        told = {"status": answer.status_code, "headers": dict(answer.headers)}
        told["headers"].pop("Allow", None)  # REST framework says with each answer which verbs are.
        if told["headers"].pop("Retry-After", None):  # Drawn anew each time, here and in the body.
            told["headers"].pop("Content-Length")
        document = json.loads(answer.content)
        document.pop("retry_after_s", None)
        return told, document, getattr(request, "auth", None)

    def both(self, action, method, **call):
        lean = self.told(LeanVerb(OrderViewSet, ACTIONS, action), method, **call)
        assert lean == self.told(self.usual, method, **call)
        return lean[0]["status"], lean[1]

    def test_refuses_in_the_same_words(self):
        weak = given_api_key(given_account("weak"), "stock:read")
        order = json.dumps(ORDER).encode()
        for status, call in (
            (401, {}),
            (401, {"key": f"{self.key[:-1]}{'A' if self.key[-1] != 'A' else 'B'}"}),
            (403, {"key": weak, "body": order, "idempotency_key": "k"}),
            (400, {"key": self.key, "body": b"{"}),
            (422, {"key": self.key, "body": b""}),
            (422, {"key": self.key, "body": b'{"customer": 1}'}),
            (400, {"key": self.key, "body": order}),
            (400, {"key": self.key, "body": order, "idempotency_key": "a,b"}),
        ):
            with self.subTest(call):
                assert self.both("create", "POST", **call)[0] == status
        missing = {"order_id": "01890a5d-ac96-774b-bcce-b302099a8057", "key": self.key}
        assert self.both("retrieve", "GET", **missing)[0] == 404
        assert not Order.objects.exists()

    def test_refuses_whom_a_permission_does_not_let_in(self):
        closed = mock.patch.object(HasScope, "has_permission", return_value=False)
        with closed:
            status, told = self.both("create", "POST", key=self.key, idempotency_key="k")
        assert (status, told["code"]) == (403, "forbidden")

    def test_answers_in_the_same_words(self):
        call = {"key": self.key, "body": json.dumps(ORDER).encode(), "idempotency_key": "k-1"}
        lean = LeanVerb(OrderViewSet, ACTIONS, "create")

        first, body, grant = self.told(lean, "POST", **call)
        again, body_again, _ = self.told(self.usual, "POST", **call)

        assert (first["status"], body) == (201, body_again)
        assert again["headers"] == first["headers"] | {"Idempotent-Replayed": "true"}
        assert grant.has("orders:write")
        status, read = self.both("retrieve", "GET", key=self.key, order_id=body["id"])
        assert (status, read["number"]) == (200, body["number"])
        assert Order.objects.count() == 1

    def test_knows_whether_the_verb_had_begun(self):
        call = {"key": self.key, "body": json.dumps(ORDER).encode(), "idempotency_key": "k-2"}
        away = OperationalError  # A new one each time: each keeps the way that it came.
        with mock.patch.object(accounts, "admit", side_effect=away):
            assert self.both("create", "POST", **call)[1]["code"] == "temporarily_unavailable"
        with mock.patch.object(usecases, "place_order", side_effect=away):
            assert self.both("create", "POST", **call)[1]["code"] == "outcome_unknown"
        with mock.patch.object(usecases, "place_order", side_effect=ZeroDivisionError):
            for logged in range(2):
                with self.assertLogs("config.problems", "ERROR"):
                    view = (self.usual, LeanVerb(OrderViewSet, ACTIONS, "create"))[logged]
                    assert self.told(view, "POST", **call)[0]["status"] == 500

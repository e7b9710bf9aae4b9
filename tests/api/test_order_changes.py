"""The life of an order, from outside."""

from django.core.cache import cache
from django.test import TestCase

from rollout.codepath import override
from tests.api.caller import Caller
from tests.builders import given_account, given_api_key, given_stock, level_of, what_moved

PAID = {
    "kind": "captured",
    "provider": "bank",
    "provider_event_id": "evt-1",
    "amount_minor": 750,
    "currency": "EUR",
}
RETURNED = {"lines": [{"position": 0, "quantity": 1, "disposition": "restock"}]}
CHANGES = {
    "cancel": {"reason": "too late"},
    "payments": PAID,
    "fulfillments": {},
    "returns": RETURNED,
    "notes": {"text": "Call back."},
}


class OrderChangesTests(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1", orders_get="v2"))
        cache.clear()
        self.shop = Caller(given_api_key())
        given_stock("CUP", on_hand=10, price_minor=250)
        order = {"customer": "c-17", "lines": [{"sku": "CUP", "quantity": 3}]}
        self.placed = self.shop.post("/orders", order).json()
        self.path = f"/orders/{self.placed['id']}"

    def post(self, what, body=None, **more):
        return self.shop.post(f"{self.path}/{what}", body or CHANGES[what], **more)

    def refused(self, answer, status, code, moved=0):
        self.assertEqual(answer.status_code, status, answer.content)
        self.assertEqual(answer.json()["code"], code)
        kept = {"answered_keys": self.before["answered_keys"] + moved}
        self.assertEqual(what_moved(), self.before | kept)
        return answer.json()

    def test_is_paid_sent_and_returned(self):
        paid = self.post("payments")
        sent = self.post("fulfillments", **{"If-Match": '"2"'})
        back = self.post("returns")

        self.assertEqual([a.status_code for a in (paid, sent, back)], [201, 201, 201])
        self.assertEqual(paid.json()["status"], "confirmed")
        self.assertEqual(sent.json()["status"], "closed")
        self.assertEqual(sent.headers["ETag"], '"3"')
        self.assertEqual(back.json()["lines"][0]["returned_quantity"], 1)
        self.assertEqual(level_of("CUP").on_hand, 8)
        told = self.shop.get(f"{self.path}/events").json()["data"]
        self.assertEqual(
            [(event["type"], event["version"]) for event in told],
            [
                ("order.placed", 1),
                ("order.paid", 2),
                ("order.fulfilled", 3),
                ("order.returned", 4),
            ],
        )

    def test_every_change_is_seen_at_once_through_the_cache(self):
        for what in ("notes", "payments", "fulfillments", "returns"):
            changed = self.post(what)

            read = self.shop.get(self.path)

            self.assertEqual(read.content, changed.content, what)
            self.assertEqual(read.headers["ETag"], changed.headers["ETag"])

    def test_a_repeat_is_the_same_bytes(self):
        first = self.post("cancel", key="k")
        again = self.post("cancel", key="k")

        self.assertEqual(again.content, first.content)
        self.assertEqual(again.headers["Idempotent-Replayed"], "true")
        self.assertEqual(again.headers["ETag"], first.headers["ETag"])

    def test_every_change_honours_if_match(self):
        self.post("fulfillments", {"lines": [{"position": 0, "quantity": 1}]})
        self.before = what_moved()

        tried = 0
        for what in CHANGES:
            for tag in ('"1"', 'W/"2"', "2", '"x", "3"'):
                tried += 1
                answer = self.post(what, **{"If-Match": tag})
                problem = self.refused(answer, 412, "precondition_failed", moved=tried)
                self.assertEqual(problem["version"], 2)
        self.assertEqual(self.post("notes", **{"If-Match": '"1", "2"'}).status_code, 201)
        self.assertEqual(self.post("notes", **{"If-Match": "*"}).status_code, 201)

    def test_every_change_needs_a_key_and_its_scope(self):
        reader = Caller(given_api_key(given_account(), "orders:read"))
        self.before = what_moved()

        for what, body in CHANGES.items():
            path = f"{self.path}/{what}"
            answer = self.shop.client.post(f"/api/v1{path}", body, format="json")
            self.refused(answer, 400, "idempotency_key_missing")
            self.refused(reader.post(path, body), 403, "forbidden")

    def test_no_change_reaches_the_order_of_another_account(self):
        stranger = Caller(given_api_key(given_account("stranger")))
        self.before = what_moved()

        for what, body in CHANGES.items():
            answer = stranger.post(f"{self.path}/{what}", body)
            self.refused(answer, 404, "order_not_found")
        self.refused(stranger.get(f"{self.path}/notes"), 404, "order_not_found")

    def test_who_sees_all_orders_may_send_them(self):
        warehouse = Caller(
            given_api_key(given_account("warehouse"), "orders:all", "orders:read", "orders:write")
        )

        answer = warehouse.post(f"{self.path}/fulfillments", {})

        self.assertEqual(answer.status_code, 201)
        self.assertEqual(self.shop.get(self.path).json()["fulfillment_status"], "fulfilled")

    def test_what_a_status_does_not_allow_is_a_conflict(self):
        self.post("cancel")
        self.before = what_moved()

        for moved, what in enumerate(("cancel", "fulfillments", "returns"), start=1):
            problem = self.refused(self.post(what), 409, "order_state_conflict", moved)
            self.assertEqual(problem["order_status"], "cancelled")
            self.assertEqual((problem["retryable"], problem["effect"]), (False, "none"))

    def test_bodies_are_strict(self):
        self.before = what_moved()

        for what, body in (
            ("cancel", {"lines": []}),
            ("cancel", {"lines": [{"position": 0, "quantity": 0}]}),
            ("cancel", {"lines": [{"position": 0, "quantity": True}]}),
            ("cancel", {"lines": [{"position": 7, "quantity": 1}]}),
            ("payments", PAID | {"kind": "stolen"}),
            ("payments", PAID | {"amount_minor": -1}),
            ("payments", PAID | {"currency": "GBP"}),
            ("fulfillments", {"lines": [{"position": 0, "quantity": 0}]}),
            ("fulfillments", {"colour": "red"}),
            ("returns", {"lines": [{"position": 0, "quantity": 1}]}),
            ("notes", {"text": ""}),
        ):
            with self.subTest(what=what, body=body):
                self.refused(self.post(what, body), 422, "validation_failed")

    def test_notes_are_read_in_pages(self):
        for n in range(3):
            self.post("notes", {"text": f"Note {n}"})

        first = self.shop.get(f"{self.path}/notes?limit=2").json()
        last = self.shop.get(f"{self.path}/notes?cursor={first['next_cursor']}").json()

        texts = [note["text"] for page in (first, last) for note in page["data"]]
        self.assertEqual(texts, ["Note 0", "Note 1", "Note 2"])
        self.assertIsNone(last["next_cursor"])

    def test_lists_are_narrowed_by_status_and_attention(self):
        self.post("fulfillments", {"lines": [{"position": 0, "quantity": 2, "short": 1}]})

        for query, found in (
            ("attention=short", 1),
            ("attention=overpaid", 0),
            ("status=confirmed", 1),
            ("status=placed", 0),
        ):
            self.assertEqual(len(self.shop.get(f"/orders?{query}").json()["data"]), found, query)

    def test_an_order_says_until_when_it_waits_for_its_money(self):
        body = {"customer": "c", "lines": [{"sku": "CUP", "quantity": 1}], "pay_within_s": 600}

        placed = self.shop.post("/orders", body)

        self.assertIsNotNone(placed.json()["pay_before"])
        read = self.shop.get(f"/orders/{placed.json()['id']}", **{"Cache-Control": "no-cache"})
        self.assertEqual(read.content, placed.content)

    def test_the_policy_of_the_shop_is_the_deadline_of_who_names_none(self):
        body = {"customer": "c", "lines": [{"sku": "CUP", "quantity": 1}]}

        with self.settings(ORDERS_PAY_WITHIN_S=900):
            placed = self.shop.post("/orders", body)

        self.assertIsNotNone(placed.json()["pay_before"])
        self.assertIsNone(self.placed["pay_before"])

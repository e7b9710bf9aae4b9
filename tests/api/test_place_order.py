"""POST /api/v1/orders, from outside."""

from django.test import TestCase

from rollout.codepath import override
from tests.api.caller import Caller
from tests.builders import given_account, given_api_key, given_stock, level_of, what_moved


class PlaceOrderTests(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        self.shop = Caller(given_api_key())
        given_stock("CUP", on_hand=10, price_minor=250)

    def order(self, **more):
        return {"customer": "c-17", "lines": [{"sku": "CUP", "quantity": 3}]} | more

    def test_takes_an_order_and_its_stock(self):
        answer = self.shop.post("/orders", self.order(reference="shop-1"))

        self.assertEqual(answer.status_code, 201, answer.content)
        order = answer.json()
        self.assertEqual(order["total_minor"], 750)
        self.assertEqual(order["currency"], "EUR")
        self.assertEqual(order["status"], "placed")
        self.assertEqual(order["served_version"], "v1")
        self.assertEqual(answer.headers["Location"], f"/api/v1/orders/{order['id']}")
        self.assertEqual(answer.headers["ETag"], '"1"')
        self.assertEqual(level_of("CUP").allocated, 3)

    def test_gives_the_same_bytes_for_the_same_key(self):
        first = self.shop.post("/orders", self.order(), key="k-1")
        again = self.shop.post("/orders", self.order(), key='"k-1"')

        self.assertEqual(again.status_code, 201)
        self.assertEqual(again.content, first.content)
        self.assertEqual(again.headers["Idempotent-Replayed"], "true")
        self.assertNotIn("Idempotent-Replayed", first.headers)
        self.assertEqual(level_of("CUP").allocated, 3)

    def test_reads_back_what_it_answered(self):
        charges = [{"code": "POST", "name": "Postage", "amount_minor": 500}]
        ship_to = {"name": "Ann", "lines": ["1 Road"], "city": "York", "country": "GB"}
        body = self.order(charges=charges, ship_to=ship_to, metadata={"gift": True, "n": [1, 2.5]})

        placed = self.shop.post("/orders", body)
        read = self.shop.get(f"/orders/{placed.json()['id']}")

        self.assertEqual(read.json(), placed.json())
        self.assertEqual(read.json()["total_minor"], 1250)
        self.assertEqual(read.headers["ETag"], placed.headers["ETag"])

    def test_refuses_metadata_that_it_could_not_give_back(self):
        before = what_moved()

        for giant in (1e22, -1e22, 2**63, -(2**63), 10**30):
            answer = self.shop.post("/orders", self.order(metadata={"deep": [{"n": giant}]}))

            self.assertEqual(answer.status_code, 422, giant)
            self.assertEqual(answer.json()["errors"][0]["pointer"], "/metadata")
        self.assertEqual(what_moved(), before)

    def test_reads_back_the_greatest_numbers_that_metadata_may_hold(self):
        metadata = {"whole": [2**63 - 1, 1 - 2**63], "fraction": [9.2e18, 5e-324]}

        placed = self.shop.post("/orders", self.order(metadata=metadata))

        self.assertEqual(placed.json()["metadata"], metadata)
        read = self.shop.get(f"/orders/{placed.json()['id']}")
        self.assertEqual(read.json()["metadata"], metadata)
        self.assertEqual(self.shop.get("/orders").json()["data"], [read.json()])

    def test_keeps_two_lines_of_one_sku_and_takes_their_sum(self):
        lines = [{"sku": "CUP", "quantity": 3}, {"sku": "CUP", "quantity": 4}]

        answer = self.shop.post("/orders", self.order(lines=lines))

        self.assertEqual([line["quantity"] for line in answer.json()["lines"]], [3, 4])
        self.assertEqual(level_of("CUP").allocated, 7)

    def test_refuses_an_order_larger_than_the_stock(self):
        before = what_moved()

        answer = self.shop.post(
            "/orders", self.order(lines=[{"sku": "CUP", "quantity": 11}]), key="k-2"
        )

        self.assertEqual(answer.status_code, 409)
        problem = answer.json()
        self.assertEqual(problem["code"], "insufficient_stock")
        self.assertEqual((problem["retryable"], problem["effect"]), (False, "none"))
        self.assertEqual(problem["errors"][0]["requested"], 11)
        self.assertEqual(problem["errors"][0]["available"], 10)
        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})
        again = self.shop.post(
            "/orders", self.order(lines=[{"sku": "CUP", "quantity": 11}]), key="k-2"
        )
        self.assertEqual(again.content, answer.content)
        self.assertEqual(again.headers["Idempotent-Replayed"], "true")

    def test_refuses_a_key_that_answered_another_order(self):
        self.shop.post("/orders", self.order(), key="k-3")
        before = what_moved()

        answer = self.shop.post("/orders", self.order(customer="c-18"), key="k-3")

        self.assertEqual(answer.status_code, 422)
        self.assertEqual(answer.json()["code"], "idempotency_key_reused")
        self.assertEqual(what_moved(), before)

    def test_does_not_show_an_order_to_another_account(self):
        placed = self.shop.post("/orders", self.order()).json()
        stranger = Caller(given_api_key(given_account("stranger")))

        answer = stranger.get(f"/orders/{placed['id']}")

        self.assertEqual(answer.status_code, 404)
        self.assertEqual(answer.json()["code"], "order_not_found")
        self.assertEqual(stranger.get("/orders").json()["data"], [])

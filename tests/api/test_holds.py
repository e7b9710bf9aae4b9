"""Holds, from outside."""

from django.test import TestCase

from inventory.models import Hold
from rollout.codepath import override
from tests.api.caller import Caller
from tests.builders import (
    given_account,
    given_api_key,
    given_hold,
    given_stock,
    let_pass,
    level_of,
    what_moved,
)


class HoldsApiTests(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        self.account = given_account()
        self.shop = Caller(given_api_key(self.account))
        given_stock("CUP", on_hand=10)

    def hold(self, quantity=3, **more):
        return {"lines": [{"sku": "CUP", "quantity": quantity}], "expires_in_s": 900} | more

    def test_keeps_stock_and_says_where_the_hold_is(self):
        answer = self.shop.post("/holds", self.hold(reference="cart-1"), key="k-1")
        again = self.shop.post("/holds", self.hold(reference="cart-1"), key="k-1")

        self.assertEqual(answer.status_code, 201, answer.content)
        hold = answer.json()
        self.assertEqual(hold["state"], "live")
        self.assertEqual(hold["lines"], [{"sku": "CUP", "location": "main", "quantity": 3}])
        self.assertEqual(answer.headers["Location"], f"/api/v1/holds/{hold['id']}")
        self.assertEqual(answer.headers["ETag"], '"1"')
        self.assertEqual(again.content, answer.content)
        self.assertEqual(level_of("CUP").held, 3)
        read = self.shop.get(f"/holds/{hold['id']}")
        self.assertEqual((read.json(), read.headers["ETag"]), (hold, '"1"'))

    def test_becomes_an_order(self):
        hold = self.shop.post("/holds", self.hold()).json()
        order = {"customer": "c-17", "lines": [{"sku": "CUP", "quantity": 3}], "hold": hold["id"]}

        answer = self.shop.post("/orders", order)
        again = self.shop.post("/orders", order)

        self.assertEqual(answer.status_code, 201, answer.content)
        self.assertEqual((again.status_code, again.json()["code"]), (409, "hold_not_live"))
        self.assertEqual(again.json()["state"], "converted")
        read = self.shop.get(f"/holds/{hold['id']}").json()
        self.assertEqual((read["state"], read["order_id"]), ("converted", answer.json()["id"]))
        self.assertEqual((level_of("CUP").held, level_of("CUP").allocated), (0, 3))

    def test_is_extended_and_released_at_the_version_that_was_read(self):
        hold = self.shop.post("/holds", self.hold()).json()
        where = f"/holds/{hold['id']}"

        extended = self.shop.post(f"{where}/extend", {"expires_in_s": 1800}, **{"If-Match": '"1"'})
        before = what_moved()
        stale = self.shop.post(f"{where}/release", {}, **{"If-Match": '"1"'})
        odd = self.shop.post(f"{where}/release", {}, **{"If-Match": 'W/"2"'})
        after = what_moved()
        released = self.shop.post(f"{where}/release", {}, **{"If-Match": '"7", "2"'})

        self.assertEqual((extended.status_code, extended.headers["ETag"]), (200, '"2"'))
        self.assertGreater(extended.json()["expires_at"], hold["expires_at"])
        for refused in (stale, odd):
            self.assertEqual(refused.status_code, 412)
            self.assertEqual(refused.json()["code"], "precondition_failed")
        self.assertEqual(after, before | {"answered_keys": before["answered_keys"] + 2})
        self.assertEqual((released.status_code, released.json()["state"]), (200, "released"))
        self.assertEqual(level_of("CUP").held, 0)

    def test_refuses_what_is_out_of_bounds(self):
        before = what_moved()

        for body, pointer in (
            (self.hold(expires_in_s=4), "/expires_in_s"),
            (self.hold(expires_in_s=3601), "/expires_in_s"),
            (self.hold(quantity=0), "/lines/0/quantity"),
            (self.hold(lines=[]), "/lines"),
            (self.hold(price_minor=1), "/price_minor"),
        ):
            answer = self.shop.post("/holds", body)
            self.assertEqual(answer.status_code, 422, body)
            self.assertEqual(answer.json()["errors"][0]["pointer"], pointer)

        self.assertEqual(what_moved(), before)

    def test_refuses_more_than_there_is(self):
        before = what_moved()

        answer = self.shop.post("/holds", self.hold(quantity=11))

        self.assertEqual((answer.status_code, answer.json()["code"]), (409, "insufficient_stock"))
        self.assertEqual(answer.json()["errors"][0]["available"], 10)
        self.assertEqual(what_moved(), before | {"answered_keys": before["answered_keys"] + 1})

    def test_tells_a_caller_at_its_limit_to_wait(self):
        before = what_moved()

        with self.settings(HOLD_UNITS_MAX=2):
            answer = self.shop.post("/holds", self.hold())

        self.assertEqual((answer.status_code, answer.json()["code"]), (429, "hold_limit_reached"))
        self.assertEqual(answer.json()["retryable"], True)
        self.assertEqual(answer.headers["Retry-After"], "10")
        self.assertEqual(what_moved(), before)

    def test_does_not_show_or_give_a_hold_to_another_account(self):
        hold_id = given_hold(account=self.account)
        stranger = Caller(given_api_key(given_account("stranger")))
        before = what_moved()

        answers = [
            stranger.get(f"/holds/{hold_id}"),
            stranger.post(f"/holds/{hold_id}/extend", {"expires_in_s": 60}),
            stranger.post(f"/holds/{hold_id}/release", {}),
        ]

        for answer in answers:
            self.assertEqual((answer.status_code, answer.json()["code"]), (404, "hold_not_found"))
        self.assertEqual(stranger.get("/holds").json()["data"], [])
        order = {"customer": "c", "lines": [{"sku": "CUP", "quantity": 1}], "hold": str(hold_id)}
        refused = stranger.post("/orders", order)
        self.assertEqual(refused.status_code, 422)
        self.assertEqual(refused.json()["errors"][0]["code"], "hold_unknown")
        self.assertEqual(what_moved(), before)

    def test_lists_holds_newest_first_page_by_page(self):
        holds = [given_hold(account=self.account, reference=f"cart-{n}") for n in range(5)]
        let_pass(holds[1])

        first = self.shop.get("/holds?limit=3").json()
        second = self.shop.get(f"/holds?limit=3&cursor={first['next_cursor']}").json()

        newest = [str(hold_id) for hold_id in reversed(holds)]
        self.assertEqual([hold["id"] for hold in first["data"]], newest[:3])
        self.assertEqual([hold["id"] for hold in second["data"]], newest[3:])
        self.assertIsNone(second["next_cursor"])
        for query, count in (
            ("state=live", 4),
            ("state=expired", 1),
            ("state=released", 0),
            ("reference=cart-2", 1),
            ("sku=CUP", 5),
            ("sku=POT", 0),
        ):
            self.assertEqual(len(self.shop.get(f"/holds?{query}").json()["data"]), count, query)
        self.assertEqual(self.shop.get(f"/holds/{holds[1]}").json()["state"], "expired")

    def test_needs_the_scopes_of_orders(self):
        reader = Caller(given_api_key(self.account, "orders:read"))

        self.assertEqual(reader.get("/holds").status_code, 200)
        self.assertEqual(reader.post("/holds", self.hold()).status_code, 403)
        self.assertFalse(Hold.objects.exists())

"""Quarantine, counts, policies and SKUs from outside, and who may do what."""

from tests.api.caller import Caller
from tests.api.keeping import CONTROL, StockKeepingCase
from tests.builders import given_account, given_api_key

SEND = {"quantity": 4, "from": "main", "to": "annex"}


class QuarantineAndCountTests(StockKeepingCase):
    def test_go_out_of_sale_and_back(self):
        there = self.done("/stock/CUP/quarantine", {"delta": 4, "reason": "inspection"})
        back = self.done("/stock/CUP/quarantine", {"delta": -4, "reason": "inspection"})

        assert (there["unavailable"], there["available"]) == (4, 6)
        assert (back["unavailable"], back["available"]) == (0, 10)

    def test_are_counted_against_the_books(self):
        counted = self.done("/stock/CUP/counts", {"counted": 7, "expected_on_hand": 10})

        assert (counted["on_hand"], counted["on_hand_change"]) == (7, -3)
        self.post_refused(
            "/stock/CUP/counts",
            {"counted": 7, "expected_on_hand": 10},
            412,
            "precondition_failed",
            is_kept=True,
        )

    def test_refuses_what_is_not_there(self):
        body = {"delta": 11, "reason": "recall"}
        self.post_refused(
            "/stock/CUP/quarantine", body, 409, "quarantine_out_of_range", is_kept=True
        )
        for path, body in (
            ("quarantine", {"delta": 1, "reason": "recall"}),
            ("counts", {"counted": 1}),
        ):
            self.post_refused(f"/stock/NONE/{path}", body, 404, "sku_not_found")
            self.post_refused(
                f"/stock/CUP/{path}", body | {"location": "moon"}, 422, "location_not_found"
            )

    def test_refuses_what_is_out_of_bounds(self):
        out = {"delta": 1, "reason": "recall"}
        self.refused_members(
            "/stock/CUP/quarantine",
            (
                ("", out | {"delta": 0}),
                ("/reason", out | {"reason": "whim"}),
                ("/note", out | {"note": CONTROL}),
            ),
        )
        self.refused_members("/stock/CUP/counts", (("/counted", {"counted": -1}),))


class PolicyTests(StockKeepingCase):
    where = "/stock/CUP/levels/main"

    def test_is_set_and_shown(self):
        policy = {"safety": 2, "low_at": 10, "backorder_limit": 50}

        level = self.shop.patch(self.where, policy)

        assert (level.status_code, level.json()["available"]) == (200, 8)
        assert {name: level.json()[name] for name in policy} == policy
        listed = self.shop.get("/stock?state=low").json()["data"]
        assert [stock["sku"] for stock in listed] == ["CUP"]
        before = self.everything()
        assert self.shop.patch(self.where, policy).json() == level.json()
        assert self.everything() == before

    def test_refuses_a_limit_below_what_is_waited_for(self):
        self.shop.patch("/skus/CUP", {"sell_policy": "backorder"})
        self.shop.patch(self.where, {"backorder_limit": 5})
        lines = [{"sku": "CUP", "quantity": 14}]
        order = {"customer": "c", "lines": lines, "allow_backorder": True}
        assert self.shop.post("/orders", order).status_code == 201

        problem = self.patch_refused(
            self.where, {"backorder_limit": 3}, 409, "backorder_limit_too_low"
        )

        assert problem["waiting"] == 4

    def test_refuses_what_is_not_there_or_out_of_bounds(self):
        self.patch_refused("/stock/NONE/levels/main", {"safety": 1}, 404, "sku_not_found")
        self.patch_refused("/stock/WRAP/levels/main", {"safety": 1}, 409, "sku_untracked")
        self.patch_refused("/stock/CUP/levels/moon", {"safety": 1}, 422, "location_not_found")
        for policy in ({}, {"safety": -1}, {"safety": None}, {"colour": 1}):
            self.patch_refused(self.where, policy, 422, "validation_failed")


class SkuTests(StockKeepingCase):
    def test_refuses_what_is_no_currency_and_what_cannot_be_printed(self):
        jug = {"code": "JUG", "name": "Jug", "price_minor": 1, "currency": "EUR"}
        self.refused_members(
            "/skus",
            (
                ("/currency", jug | {"currency": "EUX"}),
                ("/currency", jug | {"currency": "XAU"}),
                ("/name", jug | {"name": CONTROL}),
                ("/sell_policy", jug | {"sell_policy": "maybe"}),
            ),
        )
        for change in ({"currency": "EUX"}, {"name": CONTROL}, {"sell_policy": "maybe"}):
            self.patch_refused("/skus/CUP", change, 422, "validation_failed")

    def test_no_note_or_reference_can_hide_a_control_character(self):
        self.refused_members(
            "/stock/CUP/receipts",
            (
                ("/note", {"quantity": 1, "note": CONTROL}),
                ("/reference", {"quantity": 1, "reference": "a\u0085b"}),
            ),
        )

    def test_refuses_a_country_that_is_none(self):
        place = {"name": "Ann", "lines": ["Way 1"], "city": "Ghent", "country": "XX"}
        order = {"customer": "c", "lines": [{"sku": "CUP", "quantity": 1}], "ship_to": place}

        self.refused_members("/orders", (("/ship_to/country", order),))


class ScopeTests(StockKeepingCase):
    def test_reading_needs_one_scope_and_moving_another(self):
        sent = self.shop.post("/stock/CUP/transfers", SEND).json()["id"]
        opened = self.shop.post("/stocktakes", {}).json()["id"]
        reader = Caller(given_api_key(given_account(), "stock:read"))
        nobody = Caller(given_api_key(given_account(), "orders:read"))
        reads = (
            *("/locations", "/locations/main", "/transfers", f"/transfers/{sent}"),
            *("/stocktakes", f"/stocktakes/{opened}"),
        )

        for path in reads:
            assert reader.get(path).status_code == 200, path
            self.refused(lambda path=path: nobody.get(path), 403, "forbidden")
        for path, body in (
            ("/locations", {"code": "attic", "name": "Attic"}),
            ("/stock/CUP/transfers", SEND),
            (f"/transfers/{sent}/receive", {"quantity": 4}),
            (f"/transfers/{sent}/cancel", {}),
            ("/stocktakes", {}),
            (f"/stocktakes/{opened}/counts", {"counts": [{"sku": "CUP", "counted": 1}]}),
            (f"/stocktakes/{opened}/approve", {}),
            (f"/stocktakes/{opened}/cancel", {}),
            ("/stock/CUP/quarantine", {"delta": 1, "reason": "recall"}),
            ("/stock/CUP/counts", {"counted": 1}),
        ):
            self.refused(lambda p=path, b=body: reader.post(p, b), 403, "forbidden")
        for path, body in (
            ("/locations/annex", {"priority": 1}),
            ("/stock/CUP/levels/main", {"safety": 1}),
        ):
            self.refused(lambda p=path, b=body: reader.patch(p, b), 403, "forbidden")

"""Stocktakes, from outside."""

from uuid import uuid4

from inventory.models import Location, Sku, StockLevel
from inventory.stocktakes import LINES_MAX
from tests.api.keeping import CONTROL, StockKeepingCase
from tests.builders import level_of


class StocktakeTests(StockKeepingCase):
    def opened(self, **more):
        return self.done("/stocktakes", {"location": "main"} | more)

    def counts(self, **counted):
        return {"counts": [{"sku": sku, "counted": units} for sku, units in counted.items()]}

    def test_is_opened_counted_and_approved(self):
        opened = self.opened(reference="aisle 1")
        path = f"/stocktakes/{opened['id']}"
        assert [(line["sku"], line["expected"]) for line in opened["lines"]] == [("CUP", 10)]

        counted = self.done(f"{path}/counts", self.counts(CUP=8))
        approved = self.done(f"{path}/approve", {"note": "counted twice"})

        assert counted["lines"][0]["variance"] == -2
        assert approved["status"] == "approved"
        assert level_of("CUP").on_hand == 8
        assert self.shop.get(path).json() == approved

    def test_is_cancelled_and_listed(self):
        first, second = self.opened(), None
        self.done(f"/stocktakes/{first['id']}/cancel", {})
        second = self.opened()

        page = self.shop.get("/stocktakes?limit=1").json()
        rest = self.shop.get(f"/stocktakes?limit=1&cursor={page['next_cursor']}").json()

        ids = [page["data"][0]["id"], rest["data"][0]["id"]]
        assert ids == [second["id"], first["id"]]
        listed = self.shop.get("/stocktakes?status=cancelled").json()["data"]
        assert [stocktake["id"] for stocktake in listed] == [first["id"]]
        assert level_of("CUP").on_hand == 10

    def test_refuses_what_cannot_be_counted(self):
        self.post_refused("/stocktakes", {"location": "moon"}, 422, "location_not_found")
        self.post_refused("/stocktakes", {"prefix": "Z"}, 422, "stocktake_empty")
        self.post_refused("/stocktakes", {"skus": ["NONE"]}, 404, "sku_not_found")
        opened = self.opened()
        problem = self.post_refused("/stocktakes", {}, 409, "sku_being_counted", is_kept=True)
        assert problem["sku"] == "CUP"
        self.post_refused(
            f"/stocktakes/{opened['id']}/counts", self.counts(POT=1), 422, "sku_not_in_stocktake"
        )

    def test_refuses_more_lines_than_may_be_locked_at_once(self):
        skus = Sku.objects.bulk_create(
            Sku(code=f"N-{n}", name="N", price_minor=1, currency="EUR") for n in range(LINES_MAX)
        )
        main = Location.objects.get(code="main")
        StockLevel.objects.bulk_create(StockLevel(sku=sku, location=main) for sku in skus)

        problem = self.post_refused("/stocktakes", {}, 422, "stocktake_too_large")

        assert problem["lines_max"] == LINES_MAX
        assert len(self.opened(prefix="N-")["lines"]) == LINES_MAX

    def test_refuses_to_do_anything_to_one_that_is_closed_or_not_there(self):
        closed = self.opened()["id"]
        self.done(f"/stocktakes/{closed}/cancel", {})

        for verb, body in (("counts", self.counts(CUP=1)), ("approve", {}), ("cancel", {})):
            self.post_refused(
                f"/stocktakes/{closed}/{verb}", body, 409, "stocktake_closed", is_kept=True
            )
            self.post_refused(f"/stocktakes/{uuid4()}/{verb}", body, 404, "stocktake_not_found")
        self.refused(lambda: self.shop.get(f"/stocktakes/{uuid4()}"), 404, "stocktake_not_found")

    def test_refuses_to_take_away_more_than_is_left(self):
        path = f"/stocktakes/{self.opened()['id']}"
        self.done(f"{path}/counts", self.counts(CUP=0))
        self.done("/stock/CUP/adjustments", {"delta": -5, "reason": "loss"})

        self.post_refused(f"{path}/approve", {}, 409, "stock_below_zero", is_kept=True)

    def test_refuses_what_is_out_of_bounds(self):
        self.refused_members(
            "/stocktakes",
            (("/prefix", {"prefix": "a b"}), ("/reference", {"reference": CONTROL})),
        )
        path = f"/stocktakes/{self.opened()['id']}"
        count = {"sku": "CUP", "counted": 1}
        self.refused_members(
            f"{path}/counts",
            (
                ("/counts", {"counts": []}),
                ("/counts/0/counted", {"counts": [count | {"counted": -1}]}),
                ("", {"counts": [count, count]}),
            ),
        )
        self.refused_members(f"{path}/approve", (("/note", {"note": CONTROL}),))

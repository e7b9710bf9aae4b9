"""Locations, and transfers between them, from outside."""

from uuid import uuid4

from tests.api.keeping import CONTROL, StockKeepingCase
from tests.builders import level_of


class LocationTests(StockKeepingCase):
    def test_is_added_read_listed_and_changed(self):
        attic = {"code": "attic", "name": "Attic", "priority": -1, "is_active": True}

        added = self.shop.post("/locations", attic)
        changed = self.shop.patch("/locations/attic", {"is_active": False})

        assert (added.status_code, added.json()) == (201, attic)
        assert added.headers["Location"] == "/api/v1/locations/attic"
        assert (changed.status_code, changed.json()) == (200, attic | {"is_active": False})
        assert self.shop.get("/locations/attic").json() == changed.json()
        listed = self.shop.get("/locations").json()["data"]
        assert [location["code"] for location in listed] == ["attic", "main", "annex"]

    def test_refuses_a_code_that_is_taken_or_not_there(self):
        annex = {"code": "annex", "name": "Annex"}
        self.post_refused("/locations", annex, 409, "location_exists")
        self.patch_refused("/locations/moon", {"priority": 1}, 404, "no_such_location")
        self.refused(lambda: self.shop.get("/locations/moon"), 404, "no_such_location")

    def test_refuses_what_is_out_of_bounds(self):
        attic = {"code": "attic", "name": "Attic"}
        self.refused_members(
            "/locations",
            (
                ("/code", attic | {"code": "at tic"}),
                ("/name", attic | {"name": CONTROL}),
                ("/priority", attic | {"priority": 1_000_001}),
                ("/colour", attic | {"colour": "red"}),
            ),
        )
        for change in ({}, {"name": None}, {"code": "loft"}):
            self.patch_refused("/locations/annex", change, 422, "validation_failed")


class TransferTests(StockKeepingCase):
    where = "/stock/CUP/transfers"

    def ends(self, quantity=4, **more):
        return {"quantity": quantity, "from": "main", "to": "annex"} | more

    def test_is_sent_and_received(self):
        sent = self.done(self.where, self.ends(reference="van-7"))
        assert (sent["status"], sent["under_way"], sent["reference"]) == ("open", 4, "van-7")
        path = f"/transfers/{sent['id']}"

        received = self.done(f"{path}/receive", {"quantity": 3, "reason": "damage"})

        assert (received["status"], received["received"], received["missing"]) == ("closed", 3, 1)
        assert self.shop.get(path).json() == received
        assert (level_of("CUP").on_hand, level_of("CUP", "annex").on_hand) == (6, 3)

    def test_is_turned_back(self):
        sent = self.done(self.where, self.ends())

        turned = self.done(f"/transfers/{sent['id']}/cancel", {"note": "van 7 broke down"})

        assert (turned["status"], turned["returned"]) == ("closed", 4)
        assert level_of("CUP").on_hand == 10

    def test_says_where_it_is_read(self):
        answer = self.shop.post(self.where, self.ends())

        assert answer.headers["Location"] == f"/api/v1/transfers/{answer.json()['id']}"

    def test_is_listed_page_by_page(self):
        first, second = (self.done(self.where, self.ends(1))["id"] for _ in range(2))
        self.done(f"/transfers/{first}/cancel", {})

        page = self.shop.get("/transfers?limit=1").json()
        rest = self.shop.get(f"/transfers?limit=1&cursor={page['next_cursor']}").json()

        assert [page["data"][0]["id"], rest["data"][0]["id"]] == [second, first]
        assert rest["next_cursor"] is None
        for status, ids in (("open", [second]), ("closed", [first])):
            listed = self.shop.get(f"/transfers?status={status}").json()["data"]
            assert [transfer["id"] for transfer in listed] == ids

    def test_refuses_what_cannot_be_sent(self):
        problem = self.post_refused(self.where, self.ends(11), 409, "stock_not_free", is_kept=True)
        assert (problem["requested"], problem["free"]) == (11, 10)
        self.post_refused(self.where, self.ends(to="main"), 422, "same_location")
        self.post_refused(self.where, self.ends(to="moon"), 422, "location_not_found")
        self.post_refused("/stock/NONE/transfers", self.ends(), 404, "sku_not_found")
        self.post_refused("/stock/WRAP/transfers", self.ends(), 409, "sku_untracked", is_kept=True)

    def test_refuses_what_cannot_be_received_or_turned_back(self):
        path = f"/transfers/{self.done(self.where, self.ends())['id']}"
        self.post_refused(f"{path}/receive", {"quantity": 3}, 422, "reason_missing")
        self.done(f"{path}/receive", {"quantity": 4})

        for verb, body in (("receive", {"quantity": 1}), ("cancel", {})):
            self.post_refused(f"{path}/{verb}", body, 409, "transfer_closed", is_kept=True)
            self.post_refused(f"/transfers/{uuid4()}/{verb}", body, 404, "transfer_not_found")
        self.refused(lambda: self.shop.get(f"/transfers/{uuid4()}"), 404, "transfer_not_found")

    def test_refuses_what_is_out_of_bounds(self):
        self.refused_members(
            self.where,
            (
                ("/quantity", self.ends(0)),
                ("/from", self.ends(**{"from": "a b"})),
                ("/note", self.ends(note=CONTROL)),
                ("/reference", self.ends(reference=CONTROL)),
                ("/colour", self.ends(colour="red")),
            ),
        )
        path = f"/transfers/{self.done(self.where, self.ends())['id']}/receive"
        self.refused_members(
            path,
            (
                ("/quantity", {"quantity": -1}),
                ("/reason", {"quantity": 3, "reason": "whim"}),
                ("/is_last", {"quantity": 3, "is_last": "no"}),
            ),
        )

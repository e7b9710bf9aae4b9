"""A stock keeper with a key, and a proof that a refusal moved nothing."""

from uuid import uuid4

from django.test import TestCase

from inventory.models import Location, Sku, Stocktake, StocktakeLine, Transfer
from rollout.codepath import override
from tests.api.caller import Caller
from tests.builders import given_api_key, given_sku, given_stock, what_moved

# No text of ours may have it.
CONTROL = "a\u0007b"


class StockKeepingCase(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        self.shop = Caller(given_api_key())
        self.shop.post("/locations", {"code": "annex", "name": "Annex", "priority": 10})
        given_stock("CUP", on_hand=10)
        given_sku("WRAP", is_tracked=False)

    def done(self, path, body, status=201):
        """Return what a call told; prove that it tells the same again, and moves nothing."""
        key = f"once-{uuid4()}"
        answer = self.shop.post(path, body, key=key)
        assert answer.status_code == status, answer.content
        before = self.everything()

        again = self.shop.post(path, body, key=key)

        assert (again.status_code, again.content) == (status, answer.content)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert self.everything() == before
        return answer.json()

    def everything(self):
        papers = (Transfer, Stocktake, StocktakeLine, Location, Sku)
        return what_moved() | {
            model.__name__: sorted(map(repr, model.objects.values_list())) for model in papers
        }

    def refused(self, call, status, code, *, is_kept=False):
        """Return the problem, after proving that nothing moved; is_kept: but its key's answer."""
        before = self.everything()

        answer = call()

        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
        kept = {"answered_keys": before["answered_keys"] + 1} if is_kept else {}
        assert self.everything() == before | kept
        return answer.json()

    def post_refused(self, path, body, status, code, **more):
        return self.refused(lambda: self.shop.post(path, body), status, code, **more)

    def patch_refused(self, path, body, status, code, **more):
        return self.refused(lambda: self.shop.patch(path, body), status, code, **more)

    def refused_members(self, path, bodies):
        """Prove that each body is refused for the member at a pointer."""
        for pointer, body in bodies:
            problem = self.post_refused(path, body, 422, "validation_failed")
            assert problem["errors"][0]["pointer"] == pointer, (body, problem)

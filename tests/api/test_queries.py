"""What stands after the question mark is read once, and as it is written."""

from django.test import TestCase

from tests.api.caller import Caller
from tests.builders import given_account, given_api_key, given_hold, given_stock


class QueryTests(TestCase):
    def setUp(self):
        account = given_account()
        self.shop = Caller(given_api_key(account))
        given_stock("CUP", on_hand=5)
        for reference in ("1_0", "10"):
            given_hold(account=account, reference=reference)

    def test_refuses_a_parameter_that_comes_twice(self):
        for path in ("/orders", "/holds", "/stock", "/skus"):
            answer = self.shop.get(f"{path}?limit=1&limit=2")

            self.assertEqual(
                (answer.status_code, answer.json()["code"]), (422, "validation_failed")
            )
            (error,) = answer.json()["errors"]
            self.assertEqual((error["pointer"], error["code"]), ("/limit", "parameter_repeated"))

    def test_refuses_a_number_that_is_not_plain_digits(self):
        for odd in ("1_0", "%2B5", "+5", "5%20", "1.0", "-1", "", "1e1", "%EF%BC%95"):
            answer = self.shop.get(f"/holds?limit={odd}")

            self.assertEqual(answer.status_code, 422, odd)
            self.assertEqual(answer.json()["errors"][0]["pointer"], "/limit")

    def test_leaves_texts_as_they_are(self):
        found = self.shop.get("/holds?reference=1_0&limit=5").json()["data"]

        self.assertEqual([hold["reference"] for hold in found], ["1_0"])

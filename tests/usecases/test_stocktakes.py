"""People count while sales go on, and what moved meanwhile is neither lost nor counted twice."""

import orjson
from django.db import connection
from django.test import TestCase
from uuid_utils.compat import uuid7

from inventory import usecases
from inventory.models import Movement, Stocktake, StocktakeLine
from rollout.codepath import override
from tests.builders import (
    NOON,
    TESTER,
    a_request,
    discrepancies,
    given_account,
    given_location,
    given_sku,
    given_stock,
    given_units,
    level_of,
    place,
    what_moved,
)


class StocktakeTests(TestCase):
    def setUp(self):
        given_stock("CUP", on_hand=10)
        given_stock("POT", on_hand=5)
        given_sku("WRAP", is_tracked=False)

    def tearDown(self):
        self.assertEqual(discrepancies(), [])

    def ask(self, verb, **more):
        answer = verb(request=a_request(), provenance=TESTER, now=NOON, **more)
        return orjson.loads(answer.body)

    def open(self, **more):
        return self.ask(usecases.open_stocktake, **({"location": "main"} | more))["id"]

    def count(self, stocktake, **counted):
        return self.ask(usecases.count_lines, stocktake_id=stocktake, counted=counted)

    def approve(self, stocktake):
        return self.ask(usecases.approve_stocktake, stocktake_id=stocktake)

    def papers(self):
        return sorted(Stocktake.objects.values_list()), sorted(StocktakeLine.objects.values_list())

    def assert_refused(self, refusal, work, *, is_kept=True):
        before, papers = what_moved(), self.papers()
        with self.assertRaises(refusal):
            work()
        kept = {"answered_keys": before["answered_keys"] + 1} if is_kept else {}
        self.assertEqual((what_moved(), self.papers()), (before | kept, papers))

    def test_notes_what_each_level_should_have(self):
        told = self.ask(usecases.open_stocktake, location="main")

        lines = [(line["sku"], line["expected"], line["variance"]) for line in told["lines"]]
        self.assertEqual(lines, [("CUP", 10, None), ("POT", 5, None)])

    def test_books_the_variance_of_what_was_counted_and_leaves_the_rest(self):
        stocktake = self.open()
        self.count(stocktake, CUP=8)

        told = self.approve(stocktake)

        self.assertEqual((level_of("CUP").on_hand, level_of("POT").on_hand), (8, 5))
        self.assertEqual(told["status"], "approved")
        row = Movement.objects.latest("id")
        self.assertEqual((row.kind, row.on_hand_change, row.reason), ("count", -2, "count"))

    def test_what_came_in_before_the_count_is_in_the_count(self):
        stocktake = self.open()
        given_units("CUP", 3)

        self.count(stocktake, CUP=12)
        self.approve(stocktake)

        self.assertEqual(level_of("CUP").on_hand, 12)

    def test_what_came_in_after_the_count_stays(self):
        stocktake = self.open()
        self.count(stocktake, CUP=9)
        given_units("CUP", 3)

        self.approve(stocktake)

        self.assertEqual(level_of("CUP").on_hand, 12)

    def test_the_newest_count_of_a_sku_counts(self):
        stocktake = self.open()
        self.count(stocktake, CUP=1)

        told = self.count(stocktake, CUP=9)

        self.assertEqual(told["lines"][0]["variance"], -1)

    def test_promised_units_that_are_not_found_show_as_shortfall(self):
        with override(orders_place="v1"):
            place({"CUP": 9}, account=given_account())
        stocktake = self.open()
        self.count(stocktake, CUP=7)

        self.approve(stocktake)

        self.assertEqual(level_of("CUP").shortfall, 2)

    def test_cancelled_books_nothing(self):
        stocktake = self.open()
        self.count(stocktake, CUP=1)

        self.ask(usecases.cancel_stocktake, stocktake_id=stocktake)

        self.assertEqual(level_of("CUP").on_hand, 10)

    def test_refuses_to_go_on_with_one_that_is_closed(self):
        stocktake = self.open()
        self.approve(stocktake)

        for work in (
            lambda: self.count(stocktake, CUP=1),
            lambda: self.approve(stocktake),
            lambda: self.ask(usecases.cancel_stocktake, stocktake_id=stocktake),
        ):
            self.assert_refused(usecases.StocktakeClosed, work)

    def test_refuses_to_count_a_level_twice_at_once(self):
        first = self.open(skus=["CUP"])

        self.assert_refused(usecases.SkuBeingCounted, self.open)
        self.open(skus=["POT"])
        self.approve(first)
        self.open(skus=["CUP"])

    def test_names_the_sku_that_somebody_else_began_to_count_at_the_same_moment(self):
        pot = level_of("POT")
        other = Stocktake(id=uuid7(), location=pot.location, created_at=NOON)

        def begin_elsewhere(execute, sql, params, many, context):
            is_first = '"inventory_stocktake" (' in sql and other._state.adding
            if is_first:
                other._state.adding = False
                other.save(force_insert=True)
                StocktakeLine.objects.create(stocktake=other, level=pot, expected_units=5)
            return execute(sql, params, many, context)

        with (
            connection.execute_wrapper(begin_elsewhere),
            self.assertRaises(usecases.SkuBeingCounted) as caught,
        ):
            self.open()

        self.assertEqual(caught.exception.sku, "POT")

    def test_refuses_what_is_not_there_to_count(self):
        given_location("annex")

        for refusal, more in (
            (usecases.StocktakeEmpty, {"location": "annex"}),
            (usecases.StocktakeEmpty, {"prefix": "Z"}),
            (usecases.SkuNotFound, {"skus": ["CUP", "NONE"]}),
            (usecases.SkuNotFound, {"skus": ["WRAP"]}),
            (usecases.LocationNotFound, {"location": "moon"}),
        ):
            self.assert_refused(refusal, lambda more=more: self.open(**more), is_kept=False)

    def test_refuses_a_sku_that_it_does_not_count(self):
        stocktake = self.open(skus=["POT"])

        self.assert_refused(
            usecases.SkuNotInStocktake, lambda: self.count(stocktake, POT=5, CUP=1), is_kept=False
        )

    def test_counts_one_location_alone(self):
        given_location("annex")
        given_units("CUP", 4, location="annex")
        stocktake = self.open(location="annex")
        self.count(stocktake, CUP=3)

        self.approve(stocktake)

        self.assertEqual((level_of("CUP").on_hand, level_of("CUP", "annex").on_hand), (10, 3))

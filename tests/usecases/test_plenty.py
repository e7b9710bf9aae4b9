"""Stock of which there is plenty is locked last of all, and all other first."""

from unittest import mock

from django.test import TestCase

from events.usecases import Answer
from inventory.models import StockLevel
from orders import placement
from orders.scarcity import Scarce
from orders.usecases import InsufficientStock
from tests.builders import (
    a_placement,
    given_account,
    given_location,
    given_sku,
    given_stock,
    given_units,
    level_of,
)


class PlentyTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.account = given_account()
        given_stock("MUG", on_hand=1000)
        given_stock("LAST", on_hand=9)
        given_sku("GIFT-WRAP", is_tracked=False)

    def setUp(self):
        self.ways = []
        self.note("read_stock")
        self.note("lock_stock")
        self.enterContext(mock.patch.object(placement, "scarce", Scarce()))

    def note(self, name):
        """Keep the order in which stock was read and locked."""
        usual = getattr(placement, name)

        def noted(codes, **how):
            self.ways.append((name, *codes))
            return usual(codes, **how)

        self.enterContext(mock.patch.object(placement, name, noted))

    def place(self, *units, **more):
        placements = [a_placement(each, account=self.account, **more) for each in units]
        return [type(told) for told in placement.place_together(placements, is_patient=False)]

    def test_plenty_is_only_read_beforehand(self):
        told = self.place({"MUG": 60, "GIFT-WRAP": 1}, {"MUG": 40})

        assert told == [Answer, Answer]
        assert self.ways == [("read_stock", "GIFT-WRAP", "MUG")]
        assert level_of("MUG").allocated == 100

    def test_more_than_a_tenth_of_what_is_free_is_locked_first(self):
        assert self.place({"MUG": 60}, {"MUG": 41}) == [Answer, Answer]

        assert self.ways == [("read_stock", "MUG"), ("lock_stock", "MUG")]
        assert level_of("MUG").allocated == 101

    def test_what_was_scarce_a_moment_ago_is_locked_first(self):
        self.place({"LAST": 1}, {"MUG": 1})
        told = self.place({"LAST": 1}, {"MUG": 1}, {"LAST": 9})
        self.place({"MUG": 1})

        assert told == [Answer, Answer, InsufficientStock]
        assert self.ways == [
            ("read_stock", "LAST", "MUG"),
            ("lock_stock", "LAST", "MUG"),
            ("lock_stock", "LAST", "MUG"),
            ("read_stock", "MUG"),
        ]

    def test_a_place_from_which_nothing_is_taken_may_be_short(self):
        given_location("annex")
        given_units("MUG", 1, location="annex")
        StockLevel.objects.filter(location__code="annex").update(safety=5)

        assert self.place({"MUG": 1}) == [Answer]

        assert self.ways == [("read_stock", "MUG")]

    def test_stock_for_who_would_wait_is_locked_first(self):
        self.place({"MUG": 1}, allow_backorder=True)

        assert self.ways == [("lock_stock", "MUG")]

"""What becomes of promised units, as arithmetic."""

import unittest
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from inventory.promises import (
    Draw,
    NotAllocated,
    NotOnHand,
    Promise,
    Return,
    draw,
    taken_back,
)
from inventory.rules import Level, shortfall_of

ORDER = UUID(int=1)
OTHER = UUID(int=2)


def a_promise(id_=1, *, units=5, level=None, order=ORDER, location="main"):
    level = level or Level(id=id_, sku="CUP", on_hand=10, allocated=units)
    return Promise(id_, order, location, units, level)


class DrawTests(unittest.TestCase):
    def test_shipped_units_leave_the_shelf_and_the_promise(self):
        (taken,) = draw([a_promise(units=5)], [Draw(ORDER, "CUP", 3, "ship")])

        self.assertEqual((taken.after.on_hand, taken.after.allocated), (7, 2))
        self.assertEqual((taken.units, taken.after.version), (3, 1))

    def test_released_units_may_be_sold_again(self):
        (taken,) = draw([a_promise(units=5)], [Draw(ORDER, "CUP", 5, "release")])

        self.assertEqual((taken.after.on_hand, taken.after.allocated), (10, 0))
        self.assertEqual(taken.after.available, 10)

    def test_units_that_nobody_found_are_neither_promised_nor_sold(self):
        (taken,) = draw([a_promise(units=5)], [Draw(ORDER, "CUP", 2, "quarantine")])

        self.assertEqual((taken.after.allocated, taken.after.unavailable), (3, 2))
        self.assertEqual(taken.after.available, 5)

    def test_a_release_makes_a_shortfall_smaller(self):
        short = Level(id=1, sku="CUP", on_hand=3, allocated=5, shortfall=2)

        (taken,) = draw([a_promise(level=short)], [Draw(ORDER, "CUP", 1, "release")])

        self.assertEqual((taken.after.shortfall, taken.shortfall_change), (1, -1))

    def test_draws_on_several_locations_until_it_has_all(self):
        promises = [a_promise(1, units=2), a_promise(2, units=4, location="east")]

        drawn = draw(promises, [Draw(ORDER, "CUP", 5, "ship")])

        self.assertEqual([(taken.promise.id, taken.units) for taken in drawn], [(1, 2), (2, 3)])

    def test_draws_at_one_location_only_when_told_so(self):
        promises = [a_promise(1, units=2), a_promise(2, units=4, location="east")]

        with self.assertRaises(NotAllocated) as caught:
            draw(promises, [Draw(ORDER, "CUP", 5, "ship", "east")])

        self.assertEqual((caught.exception.requested, caught.exception.allocated), (5, 4))

    def test_leaves_a_location_to_the_draw_that_names_it(self):
        promises = [a_promise(1, units=2), a_promise(2, units=2, location="east")]
        anywhere, here = Draw(ORDER, "CUP", 2, "ship"), Draw(ORDER, "CUP", 2, "ship", "main")

        drawn = draw(promises, [anywhere, here])

        self.assertEqual([(taken.promise.id, taken.units) for taken in drawn], [(1, 2), (2, 2)])

    def test_takes_nothing_from_another_order(self):
        with self.assertRaises(NotAllocated) as caught:
            draw([a_promise(order=OTHER)], [Draw(ORDER, "CUP", 1, "release")])

        self.assertEqual(caught.exception.allocated, 0)

    def test_ships_no_more_than_lies_on_the_shelf(self):
        short = Level(id=1, sku="CUP", on_hand=4, unavailable=1, allocated=5, shortfall=2)

        with self.assertRaises(NotOnHand) as caught:
            draw([a_promise(level=short)], [Draw(ORDER, "CUP", 4, "ship")])

        self.assertEqual(caught.exception.on_hand, 3)

    @given(
        units=st.lists(st.integers(1, 9), min_size=1, max_size=4),
        fates=st.lists(
            st.tuples(st.integers(1, 9), st.sampled_from(["ship", "release", "quarantine"])),
            max_size=6,
        ),
    )
    def test_takes_each_draw_whole_and_never_more_than_is_open(self, units, fates):
        level = Level(id=1, sku="CUP", on_hand=sum(units) + 3, allocated=sum(units))
        promises = [a_promise(n, units=u, level=level) for n, u in enumerate(units)]
        draws = [Draw(ORDER, "CUP", wanted, fate) for wanted, fate in fates]

        try:
            drawn = draw(promises, draws)
        except NotAllocated:
            self.assertGreater(sum(wanted for wanted, _ in fates), sum(units))
            return

        self.assertEqual(sum(taken.units for taken in drawn), sum(wanted for wanted, _ in fates))
        for promise in promises:
            taken = sum(taken.units for taken in drawn if taken.promise is promise)
            self.assertLessEqual(taken, promise.units)
        last = drawn[-1].after if drawn else level
        self.assertEqual(last.allocated, sum(units) - sum(taken.units for taken in drawn))
        self.assertEqual(last.version, len(drawn))
        self.assertEqual(shortfall_of(last), 0)


class ReturnTests(unittest.TestCase):
    def test_each_disposition_has_its_place(self):
        level = Level(id=1, sku="CUP", on_hand=10)

        for disposition, on_hand, unavailable in (
            ("restock", 12, 0),
            ("quarantine", 12, 2),
            ("scrap", 10, 0),
        ):
            with self.subTest(disposition):
                _, after = taken_back(level, Return("CUP", 2, disposition, "main"))

                self.assertEqual((after.on_hand, after.unavailable), (on_hand, unavailable))
                self.assertEqual(after.version, 1)

    def test_what_goes_back_on_the_shelf_makes_a_shortfall_smaller(self):
        level = Level(id=1, sku="CUP", on_hand=3, allocated=5, shortfall=2)

        _, after = taken_back(level, Return("CUP", 1, "restock", "main"))

        self.assertEqual(after.shortfall, 1)

"""Which earlier lines a cancellation is of."""

import unittest
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from orders.lifecycle import Comeback, Cut
from orders.matching import Wanted, match
from orders.states import LineState, OrderState, Status


def an_order(number, *lines):
    """Return an order; lines: (sku, quantity, fulfilled)."""
    states = tuple(
        LineState(n, sku, quantity, 100, fulfilled=fulfilled)
        for n, (sku, quantity, fulfilled) in enumerate(lines)
    )
    return OrderState(UUID(int=number), 1, 1, Status.CONFIRMED, "EUR", 0, states)


def matched(wanted, *earlier):
    undoings, unmatched = match([Wanted(*want) for want in wanted], list(earlier), location="main")
    told = [(undoing.order.id.int, undoing.cuts, undoing.comebacks) for undoing in undoings]
    return told, unmatched


class MatchTests(unittest.TestCase):
    def test_takes_the_latest_first(self):
        told, unmatched = matched(
            [("CUP", 4)], an_order(2, ("TRAY", 9, 0), ("CUP", 3, 0)), an_order(1, ("CUP", 5, 0))
        )

        self.assertEqual(told, [(2, [Cut(1, 3)], []), (1, [Cut(0, 1)], [])])
        self.assertEqual(unmatched, {})

    def test_what_was_sent_comes_back(self):
        told, _ = matched([("CUP", 4)], an_order(1, ("CUP", 5, 3)))

        self.assertEqual(told, [(1, [Cut(0, 2)], [Comeback(0, 2, "restock", "main")])])

    def test_is_whole_or_nothing_and_leaves_the_rest_to_the_next(self):
        told, unmatched = matched([("CUP", 6), ("TRAY", 1), ("CUP", 5)], an_order(1, ("CUP", 5, 0)))

        self.assertEqual(told, [(1, [Cut(0, 5)], [])])
        self.assertEqual(unmatched, {0: 5, 1: 0})

    @given(
        st.lists(st.tuples(st.sampled_from("AB"), st.integers(1, 9)), max_size=6),
        st.lists(
            st.lists(
                st.tuples(st.sampled_from("AB"), st.integers(1, 9), st.integers(0, 9)).map(
                    lambda line: (line[0], line[1], min(line[1], line[2]))
                ),
                min_size=1,
                max_size=3,
            ),
            max_size=4,
        ),
    )
    def test_takes_what_is_wanted_to_the_unit_and_never_more_than_there_is(self, wanted, orders):
        earlier = [an_order(n, *lines) for n, lines in enumerate(orders)]

        undoings, unmatched = match([Wanted(*want) for want in wanted], earlier, location="main")

        taken = {"A": 0, "B": 0}
        for undoing in undoings:
            for line in undoing.order.lines:
                cut = sum(c.units for c in undoing.cuts if c.position == line.position)
                back = sum(c.units for c in undoing.comebacks if c.position == line.position)
                self.assertLessEqual(cut, line.open)
                self.assertLessEqual(back, line.fulfilled)
                taken[line.sku] += cut + back
        expected = {"A": 0, "B": 0}
        for n, (sku, units) in enumerate(wanted):
            expected[sku] += 0 if n in unmatched else units
        self.assertEqual(taken, expected)

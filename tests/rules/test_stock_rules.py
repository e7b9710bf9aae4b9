"""Stock as arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from inventory.rules import (
    Change,
    Level,
    difference,
    money_text,
    moved,
    settled,
    shortfall_of,
)


class LevelTests:
    def test_every_movement_counts(self):
        level = moved(moved(Level(1, "CUP", on_hand=5), Change(allocated=2)), Change(held=1))

        assert (level.allocated, level.held, level.version, level.available) == (2, 1, 2, 2)

    def test_available_is_never_below_zero(self):
        assert Level(1, "CUP", on_hand=1, safety=3).available == 0

    @given(st.integers(0, 50), st.integers(0, 50), st.integers(-50, 50))
    def test_shortfall_is_exactly_what_is_promised_and_missing(self, on_hand, allocated, delta):
        level = Level(1, "CUP", on_hand=on_hand, allocated=min(allocated, on_hand))
        if on_hand + delta < 0:
            return

        after = settled(level, difference(level, delta))

        assert after.shortfall == max(0, level.allocated - after.on_hand) == shortfall_of(after)

    def test_no_more_is_in_quarantine_than_is_there(self):
        after = settled(Level(1, "CUP", on_hand=5, unavailable=4), Change(-3, -2))

        assert after == settled(
            Level(1, "CUP", on_hand=5, unavailable=4),
            difference(Level(1, "CUP", on_hand=5, unavailable=4), -3),
        )

    def test_who_agreed_to_wait_is_not_short(self):
        level = Level(1, "CUP", on_hand=2, allocated=5, waiting=3, backorder_limit=9)

        assert shortfall_of(level) == 0
        assert settled(level, difference(level, -1)).shortfall == 1

    def test_what_comes_in_goes_to_those_who_wait(self):
        level = Level(1, "CUP", on_hand=2, allocated=5, waiting=3, backorder_limit=9)

        more = settled(level, difference(level, 2))

        assert (more.fillable, more.available) == (2, 0)


class MoneyTextTests:
    def test_has_as_many_decimals_as_its_currency(self):
        told = {"EUR": "1,234.50 EUR", "JPY": "123,450 JPY", "KWD": "123.450 KWD"}

        assert {currency: money_text(123450, currency) for currency in told} == told

    def test_tells_nothing_and_less(self):
        assert (money_text(0, "EUR"), money_text(-5, "EUR")) == ("0.00 EUR", "-0.05 EUR")

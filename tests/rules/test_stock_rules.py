"""Stock as arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from inventory.rules import (
    Change,
    Level,
    Shortage,
    grant,
    money_text,
    moved,
    recorded,
    shortfall_of,
)

SKUS = st.sampled_from(["A", "B", "C"])
DEMANDS = st.lists(st.dictionaries(SKUS, st.integers(1, 6), min_size=1), max_size=12)
STOCK = st.dictionaries(SKUS, st.integers(0, 20))


class GrantTests:
    def test_grants_the_last_unit_once(self):
        assert grant([{"CUP": 1}, {"CUP": 1}], {"CUP": 1}) == [(), (Shortage("CUP", 1, 0),)]

    def test_a_refused_demand_takes_nothing(self):
        decisions = grant([{"CUP": 2, "POT": 9}, {"CUP": 2}], {"CUP": 2, "POT": 1})

        assert decisions == [(Shortage("POT", 9, 1),), ()]

    @given(DEMANDS, STOCK)
    def test_never_grants_more_than_there_is_and_never_refuses_what_is_there(self, demands, stock):
        left = dict(stock)
        for units, shortages in zip(demands, grant(demands, stock), strict=True):
            tracked = {sku: n for sku, n in units.items() if sku in left}
            fits = all(n <= left[sku] for sku, n in tracked.items())
            assert (not shortages) == fits
            assert {s.sku for s in shortages} == {s for s, n in tracked.items() if n > left[s]}
            if fits:
                for sku, n in tracked.items():
                    left[sku] -= n
        assert all(units >= 0 for units in left.values())

    @given(DEMANDS, STOCK, st.integers(0, 12))
    def test_a_batch_decides_like_its_parts_in_a_row(self, demands, stock, cut):
        whole = grant(demands, stock)
        head = grant(demands[:cut], stock)
        left = dict(stock)
        for units, shortages in zip(demands[:cut], head, strict=True):
            for sku, n in () if shortages else units.items():
                if sku in left:
                    left[sku] -= n

        assert whole == head + grant(demands[cut:], left)


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

        after = recorded(level, delta)

        assert after.shortfall == max(0, level.allocated - after.on_hand) == shortfall_of(after)


class MoneyTextTests:
    def test_has_as_many_decimals_as_its_currency(self):
        told = {"EUR": "1,234.50 EUR", "JPY": "123,450 JPY", "KWD": "123.450 KWD"}

        assert {currency: money_text(123450, currency) for currency in told} == told

    def test_tells_nothing_and_less(self):
        assert (money_text(0, "EUR"), money_text(-5, "EUR")) == ("0.00 EUR", "-0.05 EUR")

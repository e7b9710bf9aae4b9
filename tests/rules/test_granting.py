"""Who gets what is there, over several locations, and who waits."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from inventory.granting import Demand, Grant, Pick, Shortage, Waiting, grant, plan_fills
from inventory.rules import Change, Level, Provenance, moved
from tests.builders import NOON

SKUS = ("A", "B", "C")
ORDER = uuid.UUID(int=7)


def a_level(number, sku="CUP", *, on_hand=0, priority=0, limit=0, **more):
    more = {"location": f"place-{number}", "backorder_limit": limit} | more
    policy = "backorder" if limit else "deny"
    return Level(number, sku, on_hand=on_hand, priority=priority, sell_policy=policy, **more)


def a_demand(units, *, may_wait=False):
    return Demand(ORDER, units, Provenance("", ""), at=NOON, allow_backorder=may_wait)


def picks_of(units, *levels, may_wait=False):
    (granted,) = grant([a_demand({"CUP": units}, may_wait=may_wait)], {"CUP": levels})
    return granted.shortages or granted.picks["CUP"]


demands = st.lists(
    st.builds(
        a_demand,
        st.dictionaries(st.sampled_from([*SKUS, "SERVICE"]), st.integers(1, 6), min_size=1),
        may_wait=st.booleans(),
    ),
    max_size=12,
)


@st.composite
def stocks(draw):
    """Return the levels of each SKU: one to three places, some closed, some with backorders."""
    numbers = iter(range(1, 100))
    return {
        sku: [
            a_level(
                next(numbers),
                sku,
                on_hand=draw(st.integers(0, 9)),
                safety=draw(st.integers(0, 2)),
                priority=draw(st.integers(0, 1)),
                limit=draw(st.sampled_from([0, 0, 5])),
                is_open=draw(st.integers(0, 4)) > 0,
            )
            for _ in range(draw(st.integers(1, 3)))
        ]
        for sku in SKUS
    }


def after(levels, grants):
    """Return levels as they are when grants were given."""
    by_id = {level.id: level for of_sku in levels.values() for level in of_sku}
    for granted in grants:
        for picks in granted.picks.values():
            for pick in picks:
                change = Change(allocated=pick.units, waiting=pick.waiting)
                by_id[pick.level_id] = moved(by_id[pick.level_id], change)
    return {sku: [by_id[level.id] for level in of_sku] for sku, of_sku in levels.items()}


class OneLocationTests:
    def test_grants_the_last_unit_once(self):
        grants = grant([a_demand({"CUP": 1})] * 2, {"CUP": [a_level(1, on_hand=1)]})

        assert grants == [
            Grant({"CUP": (Pick(1, 1),)}),
            Grant({}, (Shortage("CUP", 1, 0),)),
        ]

    def test_a_refused_demand_takes_nothing(self):
        stock = {"CUP": [a_level(1, on_hand=2)], "POT": [a_level(2, "POT", on_hand=1)]}

        refused, granted = grant([a_demand({"CUP": 2, "POT": 9}), a_demand({"CUP": 2})], stock)

        assert refused == Grant({}, (Shortage("POT", 9, 1),))
        assert granted == Grant({"CUP": (Pick(1, 2),)})


class SeveralLocationsTests:
    def test_the_first_by_priority_that_can_give_all_gives_all(self):
        far, near = a_level(1, on_hand=9, priority=2), a_level(2, on_hand=3, priority=1)

        assert picks_of(3, far, near) == (Pick(2, 3),)
        assert picks_of(4, far, near) == (Pick(1, 4),)

    def test_is_split_by_priority_when_no_location_has_it_all(self):
        far, near = a_level(1, on_hand=5, priority=2), a_level(2, on_hand=3, priority=1)

        assert picks_of(7, far, near) == (Pick(2, 3), Pick(1, 4))

    def test_names_what_all_have_together_when_it_is_too_little(self):
        assert picks_of(9, a_level(1, on_hand=5), a_level(2, on_hand=3)) == (Shortage("CUP", 9, 8),)

    def test_asks_equals_by_their_code(self):
        b, a = a_level(1, on_hand=2, location="b"), a_level(2, on_hand=2, location="a")

        assert picks_of(1, b, a) == (Pick(2, 1),)

    def test_a_closed_location_gives_nothing(self):
        closed, open_ = a_level(1, on_hand=9, is_open=False), a_level(2, on_hand=2)

        assert picks_of(2, closed, open_) == (Pick(2, 2),)
        assert picks_of(3, closed, open_) == (Shortage("CUP", 3, 2),)


class BackorderTests:
    def test_gives_what_is_there_and_lets_the_rest_wait(self):
        assert picks_of(5, a_level(1, on_hand=2, limit=3), may_wait=True) == (Pick(1, 5, 3),)

    def test_lets_nobody_wait_who_did_not_agree(self):
        assert picks_of(5, a_level(1, on_hand=2, limit=3)) == (Shortage("CUP", 5, 2),)

    def test_lets_no_more_wait_than_the_limit(self):
        level = a_level(1, on_hand=2, limit=3)
        waiting = moved(level, Change(allocated=3, waiting=1))

        assert picks_of(6, level, may_wait=True) == (Shortage("CUP", 6, 2),)
        assert picks_of(2, waiting, may_wait=True) == (Pick(1, 2, 2),)
        assert picks_of(3, waiting, may_wait=True) == (Shortage("CUP", 3, 0),)

    def test_the_policy_of_the_sku_must_allow_it(self):
        level = a_level(1, on_hand=2, backorder_limit=3)

        assert picks_of(5, level, may_wait=True) == (Shortage("CUP", 5, 2),)

    def test_takes_what_is_there_everywhere_before_it_waits(self):
        first, second = a_level(1, on_hand=1, limit=9, priority=1), a_level(2, on_hand=2)

        assert picks_of(6, second, first, may_wait=True) == (Pick(2, 2), Pick(1, 4, 3))


class BatchTests:
    @given(demands, stocks(), st.integers(0, 12))
    def test_a_batch_decides_like_its_parts_in_a_row(self, asked, stock, cut):
        head = grant(asked[:cut], stock)

        assert grant(asked, stock) == head + grant(asked[cut:], after(stock, head))

    @given(demands, stocks())
    def test_gives_exactly_what_was_wanted_and_is_there(self, asked, stock):
        grants = grant(asked, stock)

        for demand, granted in zip(asked, grants, strict=True):
            if not granted.shortages:
                given_units = {s: sum(p.units for p in ps) for s, ps in granted.picks.items()}
                assert given_units == {s: n for s, n in demand.units.items() if s in stock}
            if not demand.allow_backorder:
                assert not any(p.waiting for ps in granted.picks.values() for p in ps)
        for of_sku in after(stock, grants).values():
            for level in of_sku:
                there = level.on_hand - level.safety
                assert level.allocated - level.waiting <= max(0, there)
                assert level.waiting <= level.backorder_limit
                assert level.is_open or not level.allocated

    @given(demands, stocks())
    def test_refuses_nobody_whose_units_are_there(self, asked, stock):
        left = stock
        for demand in asked:
            (granted,) = grant([demand], left)
            free = {
                sku: sum(level.available for level in of_sku if level.is_open)
                for sku, of_sku in left.items()
            }
            if granted.shortages:
                assert any(n > free[sku] for sku, n in demand.units.items() if sku in free)
            left = after(left, [granted])


class FillTests:
    def test_serves_the_oldest_first_and_the_last_in_part(self):
        queue = [Waiting(1, ORDER, 3), Waiting(2, ORDER, 4), Waiting(3, ORDER, 1)]

        assert plan_fills(5, queue) == [Waiting(1, ORDER, 3), Waiting(2, ORDER, 2)]

    def test_gives_no_more_than_is_waited_for(self):
        assert plan_fills(9, [Waiting(1, ORDER, 3)]) == [Waiting(1, ORDER, 3)]

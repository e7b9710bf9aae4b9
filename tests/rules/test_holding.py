"""What is granted of levels that orders, holds and expired holds share."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from inventory.granting import Demand, Grant, Pick, Shortage, grant
from inventory.holding import Journal
from inventory.rules import Change, HeldUnits, Hold, Level, Provenance

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SKUS = ("A", "B", "C")
NOBODY = Provenance(actor="tester", source="test")
units = st.dictionaries(st.sampled_from(SKUS), st.integers(1, 6), min_size=1)
wishes = st.lists(st.tuples(units, st.none() | units, st.booleans()), max_size=10)
stocks = st.dictionaries(st.sampled_from(SKUS), st.integers(0, 20))
expired = st.lists(st.tuples(st.sampled_from(SKUS), st.integers(1, 5)), max_size=8)


def demand(
    n: int, wanted: Mapping[str, int], hold: Hold | None = None, *, may_wait: bool = False
) -> Demand:
    return Demand(UUID(int=n), wanted, NOBODY, at=NOON, allow_backorder=may_wait, hold=hold)


def held(n: int, sku: str, units: int) -> HeldUnits:
    return HeldUnits(UUID(int=n), SKUS.index(sku), sku, units)


def hold_of(n: int, kept: Mapping[str, int]) -> Hold:
    lines = tuple(held(n, sku, units) for sku, units in kept.items())
    return Hold(UUID(int=n), 1, "live", False, 1, lines)


def levels_of(stock: Mapping[str, int], *held_units: HeldUnits) -> dict[str, list[Level]]:
    """Return levels with so many free units, and besides them what holds keep."""
    levels = {sku: Level(SKUS.index(sku), sku, on_hand=n) for sku, n in stock.items()}
    for line in held_units:
        level = levels[line.sku]
        levels[line.sku] = level._replace(
            on_hand=level.on_hand + line.units, held=level.held + line.units
        )
    return {sku: [level] for sku, level in levels.items()}


def by_level(lines: Sequence[HeldUnits]) -> dict[int, list[HeldUnits]]:
    found: dict[int, list[HeldUnits]] = {}
    for line in lines:
        found.setdefault(line.level_id, []).append(line)
    return found


class OrdersOnHoldsTests:
    def test_an_order_takes_what_its_hold_keeps_where_nothing_else_is_left(self) -> None:
        hold = hold_of(9, {"A": 3})
        levels = levels_of({"A": 0}, *hold.lines)

        told = grant([demand(1, {"A": 3}), demand(2, {"A": 3}, hold)], levels)

        assert told == [
            Grant({}, (Shortage("A", 3, 0),)),
            Grant({"A": (Pick(0, 3, held=3),)}),
        ]

    def test_what_an_order_leaves_of_its_hold_is_there_for_the_next(self) -> None:
        hold = hold_of(9, {"A": 3, "B": 2})
        levels = levels_of({"A": 0, "B": 0}, *hold.lines)

        first, second = grant([demand(1, {"A": 1}, hold), demand(2, {"A": 2, "B": 2})], levels)

        assert first == Grant({"A": (Pick(0, 1, held=1),)}, left=(held(9, "A", 2), held(9, "B", 2)))
        assert second.shortages == ()

    def test_what_an_order_wants_besides_it_takes_from_what_is_available(self) -> None:
        hold = hold_of(9, {"A": 2})
        levels = levels_of({"A": 1}, *hold.lines)

        told = grant([demand(1, {"A": 4}, hold), demand(2, {"A": 3}, hold)], levels)

        assert told == [
            Grant({}, (Shortage("A", 4, 3),)),
            Grant({"A": (Pick(0, 3, held=2),)}),
        ]

    def test_a_hold_is_used_once(self) -> None:
        hold = hold_of(9, {"A": 1})
        levels = levels_of({"A": 5}, *hold.lines)

        first, second = grant([demand(1, {"A": 1}, hold), demand(2, {"A": 1}, hold)], levels)

        assert first.shortages == ()
        assert second == Grant({}, is_hold_used=True)

    def test_a_hold_keeps_its_promise_where_a_count_found_too_few(self) -> None:
        hold = hold_of(9, {"A": 3})
        level = Level(0, "A", on_hand=1, held=3, shortfall=2)

        told = grant([demand(1, {"A": 3}, hold), demand(2, {"A": 1})], {"A": [level]})

        assert told == [
            Grant({"A": (Pick(0, 3, held=3),)}),
            Grant({}, (Shortage("A", 1, 0),)),
        ]

    def test_a_hold_at_a_location_that_was_closed_is_still_kept(self) -> None:
        hold = hold_of(9, {"A": 3})
        level = Level(0, "A", on_hand=3, held=3, is_open=False)

        told = grant([demand(1, {"A": 2}, hold), demand(2, {"A": 1})], {"A": [level]})

        assert told == [
            Grant({"A": (Pick(0, 2, held=2),)}, left=(held(9, "A", 1),)),
            Grant({}, (Shortage("A", 1, 0),)),
        ]

    def test_what_is_left_of_a_hold_goes_to_those_who_wait(self) -> None:
        hold = hold_of(9, {"A": 3})
        level = Level(
            0, "A", on_hand=3, held=3, allocated=2, waiting=2, backorder_limit=2,
            sell_policy="backorder",
        )  # fmt: skip

        told = grant(
            [
                demand(1, {"A": 1}, may_wait=True),
                demand(2, {"A": 1}, hold),
                demand(3, {"A": 1}),
                demand(4, {"A": 2}, may_wait=True),
            ],
            {"A": [level]},
        )

        assert [one.shortages for one in told] == [
            (Shortage("A", 1, 0),), (), (Shortage("A", 1, 0),), (),
        ]  # fmt: skip
        assert told[3].picks == {"A": (Pick(0, 2, waiting=2),)}


class ExpiredHoldsTests:
    def test_units_past_their_deadline_are_there_for_who_needs_them(self) -> None:
        due = held(9, "A", 2)
        levels = levels_of({"A": 1}, due)

        told = grant([demand(1, {"A": 4}), demand(2, {"A": 2})], levels, {0: [due]})

        assert told == [
            Grant({}, (Shortage("A", 4, 3),)),
            Grant({"A": (Pick(0, 2),)}, let_go=(due,)),
        ]

    def test_no_more_holds_are_ended_than_are_needed(self) -> None:
        due = [held(8, "A", 2), held(9, "A", 2)]

        told = grant([demand(1, {"A": 2})], levels_of({"A": 0}, *due), {0: due})

        assert told == [Grant({"A": (Pick(0, 2),)}, let_go=(due[0],))]

    def test_who_can_do_without_them_lets_none_go_whoever_else_cannot(self) -> None:
        due = held(9, "A", 1)
        far, near = Level(0, "A", on_hand=5, held=1), Level(1, "A", on_hand=1, priority=1)

        told = grant([demand(1, {"A": 7}), demand(2, {"A": 5})], {"A": [far, near]}, {0: [due]})

        # Together the two places have five that nobody keeps: a split, and no hold is ended.
        assert told == [
            Grant({}, (Shortage("A", 7, 6),)),
            Grant({"A": (Pick(0, 4), Pick(1, 1))}),
        ]

    @given(wishes, stocks, expired, st.integers(0, 10))
    def test_many_at_once_leave_what_they_leave_in_two_parts(self, asked, stock, past, cut):
        due = [held(1000 + n, sku, units) for n, (sku, units) in enumerate(past)]
        demands = [
            demand(n, wanted, hold_of(100 + n, kept) if kept else None, may_wait=may_wait)
            for n, (wanted, kept, may_wait) in enumerate(asked)
        ]
        kept = [line for each in demands if each.hold for line in each.hold.lines]
        levels = levels_of({sku: stock.get(sku, 0) for sku in SKUS}, *due, *kept)
        levels["C"] = [levels["C"][0]._replace(sell_policy="backorder", backorder_limit=4)]

        told = grant(demands, levels, by_level(due))
        first = grant(demands[:cut], levels, by_level(due))
        between = after(levels, demands, first)
        gone = {line for granted in first for line in granted.let_go}
        then = grant(demands[cut:], between, by_level([x for x in due if x not in gone]))

        assert first + then == told
        for sku, (level,) in after(levels, demands, told).items():
            assert level.held + level.allocated - level.waiting <= levels[sku][0].on_hand
            assert level.held >= 0


def after(
    levels: Mapping[str, Sequence[Level]], demands: Sequence[Demand], grants: Sequence[Grant]
) -> dict[str, list[Level]]:
    """Return levels after grants were written, and what they set free went to who waits."""
    journal = Journal(level for of_sku in levels.values() for level in of_sku)
    when = {"at": NOON, "provenance": NOBODY}
    for _, granted in zip(demands, grants, strict=False):
        journal.give_back("expire", granted.let_go, **when)
        for pick in (pick for picks in granted.picks.values() for pick in picks):
            change = Change(held=-pick.held, allocated=pick.units, waiting=pick.waiting)
            journal.add("allocate", pick.level_id, change, **when)
        journal.give_back("release", granted.left, **when)
    for level in list(journal.levels.values()):
        if level.fillable:
            journal.add("fill", level.id, Change(waiting=-level.fillable), **when)
    return {level.sku: [level] for level in journal.levels.values()}


class JournalTests:
    def test_what_is_given_back_where_too_few_are_is_no_unit_to_sell(self) -> None:
        journal = Journal([Level(0, "A", on_hand=1, held=3, shortfall=2)])

        journal.give_back("release", [held(9, "A", 3)], at=NOON, provenance=NOBODY)

        level = journal.levels[0]
        assert (level.held, level.shortfall, level.available) == (0, 0, 1)
        assert journal.movements[0].shortfall_change == -2

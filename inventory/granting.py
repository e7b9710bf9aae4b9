"""Who gets what is there: orders by their arrival, locations by their priority. Pure."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from inventory.rules import HeldUnits, Hold, Level, Provenance


class Demand(NamedTuple):
    """
    What one order or new hold wants: units by SKU code, each 1 or more, summed over its lines.

    order_id: the order's, or that of a new hold. allow_backorder: its buyer agrees to wait for
    what is not there. hold: a live hold that the order takes its units from before others.
    """

    order_id: UUID
    units: Mapping[str, int]
    provenance: Provenance
    at: datetime
    allow_backorder: bool = False
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class Shortage:
    """A SKU of which an order wanted more than was available."""

    sku: str
    requested: int
    available: int


# Named tuples like Level: every line of every order makes a pick, every order a grant.
class Pick(NamedTuple):
    """
    Units that an order gets from a level, 1 or more.

    waiting: how many of them are not there. held: how many of them its hold kept.
    """

    level_id: int
    units: int
    waiting: int = 0
    held: int = 0


class Grant(NamedTuple):
    """
    What became of one demand: picks by SKU code, or the shortages that it was refused for.

    A SKU that is not tracked has no picks. is_hold_used: refused, because a demand before it has
    used its hold. let_go: what expired holds had kept and the picks needed. left: what its hold
    kept besides the picks.
    """

    picks: Mapping[str, tuple[Pick, ...]]
    shortages: tuple[Shortage, ...] = ()
    is_hold_used: bool = False
    let_go: tuple[HeldUnits, ...] = ()
    left: tuple[HeldUnits, ...] = ()


@dataclass(slots=True)
class _Shelf:
    """
    What a level can still give: units that are there, and units to wait for.

    nobody: units without a claim, below 0 where claims outnumber what is there. due: what expired
    holds keep, as good as free. waiting: units that orders wait for, limit: at most.
    """

    level_id: int
    nobody: int
    waiting: int
    limit: int
    due: deque[HeldUnits]

    def free(self, *, with_due: bool) -> int:
        """Return the units that an order may take, 0 or more."""
        due = sum(line.units for line in self.due) if with_due else 0
        return max(0, self.nobody + due)

    @property
    def room(self) -> int:
        """The units that orders may yet wait for, 0 or more."""
        # What was set free goes to those who wait, before anybody new waits.
        filled = max(0, min(self.waiting, self.nobody + self.waiting))
        return max(0, self.limit - (self.waiting - filled))

    def take(self, pick: Pick) -> list[HeldUnits]:
        """Give a pick away; return what was let go for it, no more than it needed."""
        there = pick.units - pick.waiting - pick.held
        let_go = []
        while there and there > self.nobody:
            let_go.append(self.due.popleft())
            self.nobody += let_go[-1].units
        self.nobody -= pick.units - pick.held
        self.waiting += pick.waiting
        return let_go


NO_UNITS: Mapping[int, Sequence[HeldUnits]] = {}


def grant(
    demands: Sequence[Demand],
    levels: Mapping[str, Sequence[Level]],
    expired: Mapping[int, Sequence[HeldUnits]] = NO_UNITS,
) -> list[Grant]:
    """
    Decide demands in their order, each whole or not at all.

    levels: those of each SKU code; a SKU that is not in it is not tracked and never short. A
    demand that is refused takes nothing, so none is refused while its units are there; n demands
    at once are decided like n in a row. What a demand's hold keeps it takes without contending
    for it, and leaves to others what it does not want of it; a hold is used once. expired: what
    holds keep past their deadline, by level id, in the order in which it is to be let go.
    """
    shelves = {code: _shelves(of_sku, expired) for code, of_sku in levels.items()}
    by_level = {shelf.level_id: shelf for of_sku in shelves.values() for shelf in of_sku}
    used: set[UUID] = set()
    grants = []
    for demand in demands:
        hold = demand.hold
        if hold is not None and hold.id in used:
            grants.append(Grant({}, is_hold_used=True))
            continue
        granted = _decide(demand, shelves, by_level)
        if granted.shortages and any(_is_due(shelves.get(code, ())) for code in demand.units):
            # Only now, and for this demand alone: one that can do without lets nothing go, whoever
            # else in its batch could not.
            granted = _decide(demand, shelves, by_level, with_due=True)
        if hold is not None and not granted.shortages:
            used.add(hold.id)
        grants.append(granted)
    return grants


def _shelves(levels: Sequence[Level], expired: Mapping[int, Sequence[HeldUnits]]) -> list[_Shelf]:
    ordered = sorted(levels, key=lambda level: (level.priority, level.location))
    return [
        _Shelf(
            level.id,
            level.free,
            level.waiting,
            level.backorder_limit if level.sell_policy == "backorder" else 0,
            deque(expired.get(level.id, ())),
        )
        for level in ordered
        if level.is_open
    ]


def _is_due(shelves: Sequence[_Shelf]) -> bool:
    return any(shelf.due for shelf in shelves)


def _decide(
    demand: Demand,
    shelves: Mapping[str, list[_Shelf]],
    by_level: Mapping[int, _Shelf],
    *,
    with_due: bool = False,
) -> Grant:
    picks: dict[str, tuple[Pick, ...]] = {}
    shortages = []
    for code, units in demand.units.items():
        if code not in shelves:
            continue
        kept = () if demand.hold is None else _kept(demand.hold, code, units)
        missing = units - sum(pick.held for pick in kept)
        planned = (
            plan_picks(missing, shelves[code], may_wait=demand.allow_backorder, with_due=with_due)
            if missing
            else ()
        )
        if planned is None:
            there = sum(shelf.free(with_due=with_due) for shelf in shelves[code])
            shortages.append(Shortage(code, units, there + units - missing))
        else:
            picks[code] = _merged(kept, planned) if kept else planned
    if shortages:
        return Grant({}, tuple(shortages))
    let_go = [
        line
        for of_sku in picks.values()
        for pick in of_sku
        if pick.level_id in by_level  # Not of a closed location, where only a hold had units.
        for line in by_level[pick.level_id].take(pick)
    ]
    left = () if demand.hold is None else _left(demand.hold, picks)
    for line in left:
        if line.level_id in by_level:
            by_level[line.level_id].nobody += line.units
    return Grant(picks, let_go=tuple(let_go), left=left)


def _kept(hold: Hold, code: str, units: int) -> tuple[Pick, ...]:
    """Return what a hold gives to a demand for units of a SKU."""
    picks = []
    for line in hold.lines:
        if line.sku == code and units:
            taken = min(units, line.units)
            picks.append(Pick(line.level_id, taken, held=taken))
            units -= taken
    return tuple(picks)


def _merged(kept: Sequence[Pick], planned: Sequence[Pick]) -> tuple[Pick, ...]:
    """Return one pick for each level: an order has one allocation there."""
    merged = {pick.level_id: pick for pick in kept}
    for pick in planned:
        held = merged.get(pick.level_id, Pick(pick.level_id, 0))
        merged[pick.level_id] = Pick(
            pick.level_id, held.units + pick.units, pick.waiting, held.held
        )
    return tuple(merged.values())


def _left(hold: Hold, picks: Mapping[str, Sequence[Pick]]) -> tuple[HeldUnits, ...]:
    """Return what a hold keeps besides what was picked from it."""
    taken = {pick.level_id: pick.held for of_sku in picks.values() for pick in of_sku}
    return tuple(
        replace(line, units=line.units - taken.get(line.level_id, 0))
        for line in hold.lines
        if line.units > taken.get(line.level_id, 0)
    )


def plan_picks(
    units: int, shelves: Sequence[_Shelf], *, may_wait: bool, with_due: bool = False
) -> tuple[Pick, ...] | None:
    """
    Return where units of one SKU come from; None when they cannot all be had.

    The first shelf that can give them all gives them all: one parcel is cheaper than two, and
    priority decides between shelves that could. When none can, each gives what it has, in order.
    What is then missing waits, if it may, on the first shelves that have room for it.
    with_due: what expired holds keep is there as well.
    """
    for shelf in shelves:
        if shelf.free(with_due=with_due) >= units:
            return (Pick(shelf.level_id, units),)
    if len(shelves) == 1 and not may_wait:
        return None
    return _split(units, shelves, may_wait=may_wait, with_due=with_due)


def _split(
    units: int, shelves: Sequence[_Shelf], *, may_wait: bool, with_due: bool
) -> tuple[Pick, ...] | None:
    missing = units
    there: dict[int, int] = {}
    for shelf in shelves:
        there[shelf.level_id] = min(missing, shelf.free(with_due=with_due))
        missing -= there[shelf.level_id]
    if missing and not may_wait:
        return None
    waiting: dict[int, int] = {}
    for shelf in shelves:
        waiting[shelf.level_id] = min(missing, shelf.room)
        missing -= waiting[shelf.level_id]
    if missing:
        return None
    return tuple(
        Pick(level_id, there[level_id] + waiting[level_id], waiting[level_id])
        for level_id in there
        if there[level_id] + waiting[level_id]
    )


@dataclass(frozen=True, slots=True)
class Waiting:
    """Units of one allocation that an order waits for, 1 or more."""

    allocation_id: int
    order_id: UUID
    units: int


def plan_fills(fillable: int, queue: Sequence[Waiting]) -> list[Waiting]:
    """
    Return who of a queue gets how many units, first to last, until fillable are given.

    The oldest order is served first, in part when there is not enough for all of it.
    """
    fills = []
    for waiting in queue:
        units = min(fillable, waiting.units)
        if not units:
            break
        fills.append(Waiting(waiting.allocation_id, waiting.order_id, units))
        fillable -= units
    return fills

"""Who gets what is there: orders by their arrival, locations by their priority. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from inventory.rules import Level, Provenance


@dataclass(frozen=True, slots=True)
class Demand:
    """
    What one order wants: units by SKU code, each 1 or more, summed over its lines.

    allow_backorder: its buyer agrees to wait for what is not there.
    """

    order_id: UUID
    units: Mapping[str, int]
    provenance: Provenance
    at: datetime
    allow_backorder: bool = False


@dataclass(frozen=True, slots=True)
class Shortage:
    """A SKU of which an order wanted more than was available."""

    sku: str
    requested: int
    available: int


@dataclass(frozen=True, slots=True)
class Pick:
    """Units that an order gets from a level, 1 or more; waiting: how many of them are not there."""

    level_id: int
    units: int
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """
    What became of one demand: picks by SKU code, or the shortages that it was refused for.

    A SKU that is not tracked has no picks.
    """

    picks: Mapping[str, tuple[Pick, ...]]
    shortages: tuple[Shortage, ...] = ()


@dataclass(slots=True)
class _Shelf:
    """What a level can still give: units that are there, and units to wait for."""

    level_id: int
    free: int
    room: int


def grant(demands: Sequence[Demand], levels: Mapping[str, Sequence[Level]]) -> list[Grant]:
    """
    Decide demands in their order, each whole or not at all.

    levels: those of each SKU code; a SKU that is not in it is not tracked and never short. A
    demand that is refused takes nothing, so none is refused while its units are there; n demands
    at once are decided like n in a row.
    """
    shelves = {code: _shelves(of_sku) for code, of_sku in levels.items()}
    return [_decide(demand, shelves) for demand in demands]


def _shelves(levels: Sequence[Level]) -> list[_Shelf]:
    ordered = sorted(levels, key=lambda level: (level.priority, level.location))
    return [
        _Shelf(level.id, level.available, level.backorder_room)
        for level in ordered
        if level.is_open
    ]


def _decide(demand: Demand, shelves: Mapping[str, list[_Shelf]]) -> Grant:
    picks: dict[str, tuple[Pick, ...]] = {}
    shortages = []
    for code, units in demand.units.items():
        if code not in shelves:
            continue
        planned = plan_picks(units, shelves[code], may_wait=demand.allow_backorder)
        if planned is None:
            free = sum(shelf.free for shelf in shelves[code])
            shortages.append(Shortage(code, units, free))
        else:
            picks[code] = planned
    if shortages:
        return Grant({}, tuple(shortages))
    for code, planned in picks.items():
        _take(planned, shelves[code])
    return Grant(picks)


def _take(picks: Sequence[Pick], shelves: Sequence[_Shelf]) -> None:
    for pick in picks:
        for shelf in shelves:
            if shelf.level_id == pick.level_id:
                shelf.free -= pick.units - pick.waiting
                shelf.room -= pick.waiting


def plan_picks(units: int, shelves: Sequence[_Shelf], *, may_wait: bool) -> tuple[Pick, ...] | None:
    """
    Return where units of one SKU come from; None when they cannot all be had.

    The first shelf that can give them all gives them all: one parcel is cheaper than two, and
    priority decides between shelves that could. When none can, each gives what it has, in order.
    What is then missing waits, if it may, on the first shelves that have room for it.
    """
    for shelf in shelves:
        if shelf.free >= units:
            return (Pick(shelf.level_id, units),)
    if len(shelves) == 1 and not may_wait:
        return None
    return _split(units, shelves, may_wait=may_wait)


def _split(units: int, shelves: Sequence[_Shelf], *, may_wait: bool) -> tuple[Pick, ...] | None:
    missing = units
    there: dict[int, int] = {}
    for shelf in shelves:
        there[shelf.level_id] = min(missing, shelf.free)
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

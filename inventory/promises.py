"""What orders were promised, and what becomes of it: shipped, given back, not found. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from config.errors import AppError
from inventory.rules import Change, Level, moved, shortfall_of

Fate = Literal["ship", "release", "quarantine"]
Disposition = Literal["restock", "quarantine", "scrap"]


class NotAllocated(AppError):
    """Fewer units are allocated to the order, there, than were asked for."""

    code, kind = "not_allocated", "conflict"
    facts = ("sku", "location", "requested", "allocated")

    def __init__(self, sku: str, location: str | None, *, requested: int, allocated: int) -> None:
        where = f" at {location}" if location else ""
        super().__init__(f"{sku}: {requested} requested, {allocated} allocated{where}.")
        self.sku = sku
        self.location = location
        self.requested = requested
        self.allocated = allocated


class NotOnHand(AppError):
    """The units are promised to the order but are not there: receive or count them first."""

    code, kind = "not_on_hand", "conflict"
    facts = ("sku", "location", "requested", "on_hand")

    def __init__(self, sku: str, location: str | None, *, requested: int, on_hand: int) -> None:
        super().__init__(f"{sku}: {requested} requested, {on_hand} can be taken off the shelf.")
        self.sku = sku
        self.location = location
        self.requested = requested
        self.on_hand = on_hand


@dataclass(frozen=True, slots=True)
class Promise:
    """An allocation that is open: units of a level that are neither released nor shipped."""

    id: int
    order_id: UUID
    location: str
    units: int
    level: Level


@dataclass(frozen=True, slots=True)
class Draw:
    """
    What is to become of promised units of an order, 1 or more.

    ship: they leave. release: they may be sold again. quarantine: nobody found them, and until
    somebody counts they are not sold. location: None for wherever they are.
    """

    order_id: UUID
    sku: str
    units: int
    fate: Fate
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """Units that were drawn from one promise, and the level after that."""

    promise: Promise
    units: int
    fate: Fate
    change: Change
    after: Level
    shortfall_change: int


@dataclass(frozen=True, slots=True)
class Return:
    """Units that come back to a location, 1 or more."""

    sku: str
    units: int
    disposition: Disposition
    location: str


def draw(promises: Sequence[Promise], draws: Sequence[Draw]) -> list[Drawn]:
    """
    Take draws from promises, in their order; each whole, from as many promises as it takes.

    promises: all that is open of the orders, several may share a level.
    Raises NotAllocated when less is open than is drawn, NotOnHand when it is open but not there.
    """
    left = {promise.id: promise.units for promise in promises}
    levels = {promise.level.id: promise.level for promise in promises}
    drawn: list[Drawn] = []
    for wanted in draws:
        found = [promise for promise in promises if _gives(promise, wanted)]
        missing = wanted.units
        for promise in found:
            level = levels[promise.level.id]
            units = min(missing, left[promise.id], _most(level, wanted.fate))
            if units:
                taken = _take(promise, units, wanted.fate, level)
                levels[level.id] = taken.after
                left[promise.id] -= units
                missing -= units
                drawn.append(taken)
        if missing:
            raise _lack(wanted, missing, allocated=sum(left[promise.id] for promise in found))
    return drawn


def _gives(promise: Promise, wanted: Draw) -> bool:
    return (
        promise.order_id == wanted.order_id
        and promise.level.sku == wanted.sku
        and wanted.location in (None, promise.location)
    )


def _most(level: Level, fate: Fate) -> int:
    """Return how many units of a level may meet a fate: what is not there cannot leave it."""
    if fate == "release":
        return level.allocated
    return max(0, level.on_hand - level.unavailable)


def _take(promise: Promise, units: int, fate: Fate, level: Level) -> Drawn:
    change = {
        "ship": Change(on_hand=-units, allocated=-units),
        "release": Change(allocated=-units),
        "quarantine": Change(allocated=-units, unavailable=units),
    }[fate]
    after = moved(level, change)
    if fate == "release":
        # A promise that is taken back may have been one that could not be kept.
        after = replace(after, shortfall=shortfall_of(after))
    return Drawn(promise, units, fate, change, after, after.shortfall - level.shortfall)


def _lack(wanted: Draw, missing: int, *, allocated: int) -> NotAllocated | NotOnHand:
    had = wanted.units - missing
    if allocated >= missing:
        return NotOnHand(wanted.sku, wanted.location, requested=wanted.units, on_hand=had)
    return NotAllocated(
        wanted.sku, wanted.location, requested=wanted.units, allocated=had + allocated
    )


def taken_back(level: Level, returned: Return) -> tuple[Change, Level]:
    """
    Return how units that come back change a level, and the level after it.

    What is scrapped changes no counter: the ledger tells of it all the same.
    """
    units = returned.units
    change = {
        "restock": Change(on_hand=units),
        "quarantine": Change(on_hand=units, unavailable=units),
        "scrap": Change(),
    }[returned.disposition]
    after = moved(level, change)
    return change, replace(after, shortfall=shortfall_of(after))

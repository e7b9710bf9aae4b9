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
    """
    An allocation that is open: units of a level that are neither released nor shipped.

    waiting: how many of them are not there yet, and so can only be released.
    """

    id: int
    order_id: UUID
    location: str
    units: int
    level: Level
    waiting: int = 0


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
    Take draws from promises; each whole, from as many promises as it takes.

    Those that name a location come first: any other would do for the rest.
    promises: all that is open of the orders, several may share a level.
    Raises NotAllocated when less is open than is drawn, NotOnHand when it is open but not there.
    """
    left = {promise.id: promise for promise in promises}
    levels = {promise.level.id: promise.level for promise in promises}
    drawn: list[Drawn] = []
    for wanted in sorted(draws, key=lambda wanted: wanted.location is None):
        found = [left[promise.id] for promise in promises if _gives(promise, wanted)]
        if wanted.fate == "release":
            # What is waited for is given up before what is there.
            found.sort(key=lambda promise: not promise.waiting)
        missing = wanted.units
        for promise in found:
            level = levels[promise.level.id]
            units = min(missing, _most(promise, level, wanted.fate))
            if units:
                taken = _take(promise, units, wanted.fate, level)
                levels[level.id] = taken.after
                left[promise.id] = replace(
                    promise,
                    units=promise.units - units,
                    waiting=promise.waiting + taken.change.waiting,
                )
                missing -= units
                drawn.append(taken)
        if missing:
            raise _lack(wanted, missing, allocated=sum(left[one.id].units for one in found))
    return drawn


def _gives(promise: Promise, wanted: Draw) -> bool:
    return (
        promise.order_id == wanted.order_id
        and promise.level.sku == wanted.sku
        and wanted.location in (None, promise.location)
    )


def _most(promise: Promise, level: Level, fate: Fate) -> int:
    """Return how many promised units may meet a fate: what is not there cannot leave."""
    if fate == "release":
        return promise.units
    there = max(0, level.on_hand - level.unavailable)
    return min(promise.units - promise.waiting, there)


def _take(promise: Promise, units: int, fate: Fate, level: Level) -> Drawn:
    change = {
        "ship": Change(on_hand=-units, allocated=-units),
        "release": Change(allocated=-units, waiting=-min(units, promise.waiting)),
        "quarantine": Change(allocated=-units, unavailable=units),
    }[fate]
    after = moved(level, change)
    if fate == "release":
        # A promise that is taken back may have been one that could not be kept.
        after = after._replace(shortfall=shortfall_of(after))
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
    return change, after._replace(shortfall=shortfall_of(after))

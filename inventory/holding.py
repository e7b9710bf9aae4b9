"""What a hold may be refused for, and how its units move. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from config.errors import AppError
from inventory.granting import Shortage
from inventory.rules import (
    Change,
    HeldUnits,
    Level,
    Movement,
    MovementKind,
    Provenance,
    moved,
    shortfall_of,
)


class HoldNotFound(AppError):
    """The account has no hold with this id."""

    code, kind = "hold_not_found", "not_found"

    def __init__(self) -> None:
        super().__init__("There is no such hold.")


class HoldNotLive(AppError):
    """The hold keeps nothing any more: it was converted or released, or its deadline passed."""

    code, kind, facts = "hold_not_live", "conflict", ("hold", "state")

    def __init__(self, hold_id: UUID, state: str) -> None:
        super().__init__(f"Hold {hold_id} is {state}.")
        self.hold = str(hold_id)
        self.state = state


class HoldChanged(AppError):
    """The hold is not at the version that If-Match names; read it again."""

    code, kind, facts = "precondition_failed", "precondition", ("hold", "version")

    def __init__(self, hold_id: UUID, version: int) -> None:
        super().__init__(f"Hold {hold_id} is at version {version}, not at the one you expected.")
        self.hold = str(hold_id)
        self.version = version


class HoldLifeExceeded(AppError):
    """The hold would live for longer than any hold may; extendable_until is its last moment."""

    code, kind, facts = "hold_life_exceeded", "conflict", ("hold", "extendable_until")

    def __init__(self, hold_id: UUID, extendable_until: str) -> None:
        super().__init__(f"Hold {hold_id} can be kept until {extendable_until} at the latest.")
        self.hold = str(hold_id)
        self.extendable_until = extendable_until


class HoldLimitReached(AppError):
    """The account would hold more than it may: convert or release some, or let them expire."""

    code, kind, retryable = "hold_limit_reached", "too_many", True
    facts = ("holds_open", "holds_open_max", "units_held", "units_held_max")
    retry_after_s = 10

    def __init__(
        self, *, holds_open: int, holds_open_max: int, units_held: int, units_held_max: int
    ) -> None:
        super().__init__(
            f"The account has {holds_open} holds with {units_held} units; "
            f"{holds_open_max} and {units_held_max} are possible."
        )
        self.holds_open = holds_open
        self.holds_open_max = holds_open_max
        self.units_held = units_held
        self.units_held_max = units_held_max


class HoldInvalid(AppError):
    """A hold that is well formed but cannot be: a SKU is unknown, not active or has no stock."""

    code, kind = "validation_failed", "invalid"

    def __init__(self, errors: Sequence[dict[str, Any]]) -> None:
        super().__init__("The hold is well formed but cannot be placed.")
        self.errors = errors


class TooFewToHold(AppError):
    """Fewer units are available than a hold was to keep. Expected in normal trade."""

    code, kind = "insufficient_stock", "conflict"

    def __init__(self, errors: Sequence[dict[str, Any]]) -> None:
        super().__init__("There is not enough stock for this hold.")
        self.errors = errors


@dataclass(frozen=True, slots=True)
class HoldLine:
    """Units of a SKU to keep, 1 or more. Two lines of one SKU count as their sum."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class HoldFilter:
    """Which holds a list is of; None does not narrow it. A live one is before its deadline."""

    state: str | None = None
    reference: str | None = None
    sku: str | None = None


class Journal:
    """Locked levels as they come to be, and the movements that make them so."""

    def __init__(self, levels: Iterable[Level]) -> None:
        self.levels = {level.id: level for level in levels}
        self.movements: list[Movement] = []

    def add(
        self,
        kind: MovementKind,
        level_id: int,
        change: Change,
        *,
        at: datetime,
        provenance: Provenance,
        order_id: UUID | None = None,
        hold_id: UUID | None = None,
    ) -> None:
        """Move a level, after all that moved it before."""
        before = self.levels[level_id]
        after = moved(before, change)
        if kind in ("release", "expire") and before.shortfall:
            # A promise that is taken back may have been one that could not be kept.
            after = after._replace(shortfall=shortfall_of(after))
        self.levels[level_id] = after
        self.movements.append(
            Movement(
                kind,
                change,
                after,
                at=at,
                shortfall_change=after.shortfall - before.shortfall,
                order_id=order_id,
                hold_id=hold_id,
                provenance=provenance,
            )
        )

    def give_back(
        self,
        ending: Literal["release", "expire"],
        lines: Iterable[HeldUnits],
        *,
        at: datetime,
        provenance: Provenance,
    ) -> None:
        """Set free what a hold keeps."""
        for line in lines:
            self.add(
                ending,
                line.level_id,
                Change(held=-line.units),
                at=at,
                provenance=provenance,
                hold_id=line.hold_id,
            )


def units_by_sku(lines: Iterable[HoldLine]) -> dict[str, int]:
    """Return the units of lines by SKU, summed."""
    units: dict[str, int] = {}
    for line in lines:
        units[line.sku] = units.get(line.sku, 0) + line.quantity
    return units


def too_few(lines: Sequence[HoldLine], shortages: Iterable[Shortage]) -> TooFewToHold:
    """Return the refusal of a hold, with an entry for each line whose SKU is short."""
    short = {shortage.sku: shortage for shortage in shortages}
    return TooFewToHold(
        [
            {
                "pointer": f"/lines/{n}",
                "code": "insufficient_stock",
                "message": f"SKU {line.sku}: {short[line.sku].requested} requested, "
                f"{short[line.sku].available} available.",
                "sku": line.sku,
                "requested": short[line.sku].requested,
                "available": short[line.sku].available,
            }
            for n, line in enumerate(lines)
            if line.sku in short
        ]
    )

"""What rows of a file do to SKUs and levels. Pure."""

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from config.errors import AppError
from inventory.rules import Change, Level, Sku, difference, settled
from inventory.stockfiles import BadRow, StockRow

Outcome = Literal["added", "changed", "moved", "unchanged", "rejected"]
Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Step:
    """
    What becomes of one row. why and detail: of one that is rejected.

    added: the SKU that it adds; changes: what it changes of one that is there.
    """

    row: StockRow | BadRow
    outcome: Outcome
    on_hand_change: int = 0
    why: str = ""
    detail: str = ""
    added: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stores:
    """
    What there is, as rows are decided one after the other: each finds what those before it left.

    A place that has no level yet is not in levels.
    """

    skus: MutableMapping[str, Sku]
    levels: MutableMapping[Place, Level]
    locations: AbstractSet[str]


class _Refused(Exception):
    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail)
        self.why = why


def place_of(row: StockRow) -> Place:
    """Return whose units a row is about, and where."""
    return row.sku, row.location


def places_of(rows: Iterable[StockRow | BadRow]) -> list[Place]:
    """Return the places whose units rows move."""
    good = (row for row in rows if isinstance(row, StockRow))
    return sorted({place_of(row) for row in good if row.moves_stock})


def plan(rows: Sequence[StockRow | BadRow], stores: Stores) -> list[Step]:
    """
    Decide what becomes of rows, in their order; a row is done whole or rejected.

    Leaves stores as the rows would.
    """
    return [_step(row, stores) for row in rows]


def _step(row: StockRow | BadRow, stores: Stores) -> Step:
    if isinstance(row, BadRow):
        return Step(row, "rejected", why=row.why, detail=row.detail)
    try:
        return _accepted(row, stores)
    except _Refused as refusal:
        return Step(row, "rejected", why=refusal.why, detail=str(refusal))
    except AppError as refusal:
        return Step(row, "rejected", why=refusal.code, detail=str(refusal))


def _accepted(row: StockRow, stores: Stores) -> Step:
    known = stores.skus.get(row.sku)
    added = new_sku(row) if known is None else {}
    if known is None and not added:
        raise _Refused("sku_incomplete", "a new SKU needs name, price_minor and currency")
    changes = {} if known is None else _changes(row, known)
    after = Sku(0, **added) if known is None else replace(known, **changes)
    change = _check_stock(row, after, stores)
    stores.skus[row.sku] = after
    if added:
        outcome: Outcome = "added"
    elif changes:
        outcome = "changed"
    else:
        outcome = "moved" if change.on_hand else "unchanged"
    return Step(row, outcome, change.on_hand, added=added, changes=changes)


def new_sku(row: StockRow) -> dict[str, Any]:
    """Return the SKU that a row adds; empty when it does not say enough of it."""
    if row.name is None or row.price_minor is None or row.currency is None:
        return {}
    return {
        "code": row.sku,
        "name": row.name,
        "price_minor": row.price_minor,
        "currency": row.currency,
        "is_active": row.is_active is not False,
        "is_tracked": row.is_tracked is not False,
    }


def _changes(row: StockRow, known: Sku) -> dict[str, Any]:
    if row.is_tracked not in (None, known.is_tracked):
        raise _Refused("is_tracked_fixed", "whether a SKU is tracked never changes")
    wanted = {
        "name": row.name,
        "price_minor": row.price_minor,
        "currency": row.currency,
        "is_active": row.is_active,
    }
    return {
        name: value
        for name, value in wanted.items()
        if value is not None and value != getattr(known, name)
    }


def _check_stock(row: StockRow, sku: Sku, stores: Stores) -> Change:
    if not row.moves_stock:
        return Change()
    if not sku.is_tracked:
        raise _Refused("sku_untracked", f"SKU {row.sku} is not tracked: it has no stock")
    if row.location not in stores.locations:
        raise _Refused("location_not_found", f"there is no location {row.location}")
    before = stores.levels.get(place_of(row), Level(0, row.sku, location=row.location))
    change = change_of(row, before)
    if change.on_hand:
        stores.levels[place_of(row)] = settled(before, change)
    return change


def change_of(row: StockRow, level: Level) -> Change:
    """Return how a row changes a level; nothing when that many units are there already."""
    if row.receive is not None:
        return difference(level, row.receive)
    return difference(level, (row.on_hand or 0) - level.on_hand)

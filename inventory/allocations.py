"""What becomes of the units that orders were promised. Part of the door: inventory.usecases."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from inventory import storage
from inventory.booking import book
from inventory.promises import Draw, Drawn, Return, draw, taken_back
from inventory.rules import (
    UNITS_MAX,
    LocationNotFound,
    Movement,
    NothingAllocated,
    Provenance,
    StockAboveLimit,
)


def draw_units(
    draws: Sequence[Draw], *, provenance: Provenance, now: datetime, reason: str = ""
) -> list[Drawn]:
    """
    Ship, release or quarantine units that orders have allocated; return where they were.

    SKUs that are not tracked have no units and are left out. Joins the caller's transaction, in
    which the orders must be locked; locks their levels by ascending id.
    Raises NotAllocated when an order has fewer units open, NotOnHand when they are not there.
    """
    tracked = storage.find_tracked({wanted.sku for wanted in draws})
    draws = [wanted for wanted in draws if wanted.sku in tracked]
    promises = storage.lock_promises({wanted.order_id for wanted in draws}) if draws else []
    drawn = draw(promises, draws)
    _write(drawn, provenance=provenance, now=now, reason=reason)
    return drawn


def release_orders(
    order_ids: Sequence[UUID], *, provenance: Provenance, now: datetime, reason: str = ""
) -> None:
    """
    Give back every unit that orders still have allocated; orders that have none are none's loss.

    Joins the caller's transaction, in which the orders must be locked.
    """
    promises = storage.lock_promises(order_ids)
    draws = [
        Draw(promise.order_id, promise.level.sku, promise.units, "release", promise.location)
        for promise in promises
    ]
    _write(draw(promises, draws), provenance=provenance, now=now, reason=reason)


def release_order(
    order_id: UUID, *, provenance: Provenance, now: datetime, reason: str = ""
) -> None:
    """
    Give back every unit an order still has allocated, as release_orders does.

    Raises NothingAllocated for an order that has none.
    """
    if not storage.lock_promises([order_id]):
        raise NothingAllocated(order_id)
    release_orders([order_id], provenance=provenance, now=now, reason=reason)


def _write(drawn: Sequence[Drawn], *, provenance: Provenance, now: datetime, reason: str) -> None:
    if not drawn:
        return
    storage.draw_promises(drawn)
    book(
        [
            Movement(
                taken.fate,
                taken.change,
                taken.after,
                at=now,
                shortfall_change=taken.shortfall_change,
                reason=reason,
                order_id=taken.promise.order_id,
                provenance=provenance,
            )
            for taken in drawn
        ]
    )


def take_back(
    order_id: UUID, returns: Sequence[Return], *, provenance: Provenance, now: datetime
) -> None:
    """
    Take back units that an order was sent: to the shelf, into quarantine, or to be scrapped.

    SKUs that are not tracked are left out. Joins the caller's transaction, in which the order
    must be locked; locks the levels by ascending id. Raises LocationNotFound for a location
    that is unknown or has no level of the SKU, StockAboveLimit.
    """
    tracked = storage.find_tracked({returned.sku for returned in returns})
    returns = [returned for returned in returns if returned.sku in tracked]
    if not returns:
        return
    levels = storage.lock_places({(returned.sku, returned.location) for returned in returns})
    movements = []
    for returned in returns:
        place = (returned.sku, returned.location)
        if place not in levels:
            raise LocationNotFound(returned.location)
        before = levels[place]
        change, after = taken_back(before, returned)
        if after.on_hand > UNITS_MAX:
            raise StockAboveLimit(returned.sku, on_hand=before.on_hand)
        levels[place] = after
        movements.append(
            Movement(
                "return",
                change,
                after,
                at=now,
                shortfall_change=after.shortfall - before.shortfall,
                reason=returned.disposition,
                order_id=order_id,
                provenance=provenance,
            )
        )
    book(movements)

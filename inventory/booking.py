"""Write movements; what they set free goes to the orders that wait for it, in the same breath."""

import logging
from collections.abc import Sequence

from events.usecases import NewEvent, record_events
from inventory import storage
from inventory.granting import Waiting, plan_fills
from inventory.rules import Change, Level, Movement, moved

logger = logging.getLogger(__name__)

# Orders that are read at once of those that wait at one level.
QUEUE_LENGTH = 500


def book(movements: Sequence[Movement]) -> list[Level]:
    """
    Write movements and the levels they led to, then fill backorders; return the levels afterwards.

    The levels must be locked, by ascending id; several movements of one level stand in their
    order. Every way to set units free goes through here: what is free belongs to who waits.
    """
    if not movements:
        return []
    storage.move_levels(movements)
    last = {movement.after.id: movement for movement in movements}
    return [_fill(movement) for movement in last.values()]


def _fill(cause: Movement) -> Level:
    """Give the free units of a level to the orders that wait for them, the oldest first."""
    level = cause.after
    while level.fillable:
        queue = storage.list_waiting(level.id, limit=QUEUE_LENGTH)
        if not queue:
            # The books are wrong, which reconcile tells. Whoever brings units need not wait for it.
            logger.error(
                "%s at %s: orders wait for %d units, but nobody does",
                *(level.sku, level.location, level.waiting),
            )
            break
        fills = plan_fills(level.fillable, queue)
        movements = []
        for fill in fills:
            change = Change(waiting=-fill.units)
            level = moved(level, change)
            movements.append(
                Movement(
                    "fill",
                    change,
                    level,
                    at=cause.at,
                    reference=cause.reference,
                    order_id=fill.order_id,
                    provenance=cause.provenance,
                )
            )
        storage.fill_allocations(fills)
        storage.move_levels(movements)
        record_events(
            [_filled(fill, movement) for fill, movement in zip(fills, movements, strict=True)]
        )
    return level


def _filled(fill: Waiting, movement: Movement) -> NewEvent:
    level = movement.after
    told = {
        "sku": level.sku,
        "location": level.location,
        "order_id": str(fill.order_id),
        "units": fill.units,
        "waiting": level.waiting,
        "version": level.version,
    }
    about = f"{level.sku}@{level.location}"
    return NewEvent("stock.backorder_filled", "stock", about, level.version, told, at=movement.at)

"""Every way in which people move stock. Part of the door: inventory.usecases."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from events.usecases import Answer, KeyedRequest, NewEvent, answer_once, commit, record_events
from inventory import rules, storage
from inventory.booking import book
from inventory.models import StockLevel
from inventory.refusals import BackorderLimitTooLow, QuarantineOutOfRange
from inventory.rules import (
    MAIN_LOCATION,
    Change,
    Level,
    Movement,
    MovementKind,
    Provenance,
    StockChanged,
)

EVENTS = {"receive": "stock.received", "count": "stock.counted", "quarantine": "stock.quarantined"}


def receive_stock(
    *,
    request: KeyedRequest,
    sku: str,
    quantity: int,
    provenance: Provenance,
    now: datetime,
    location: str = MAIN_LOCATION,
    reference: str = "",
    note: str = "",
) -> Answer:
    """
    Add units that came in. quantity: 1 or more.

    Raises SkuNotFound, SkuUntracked, LocationNotFound, StockAboveLimit, and what answer_once
    raises.
    """
    return answer_once(
        request,
        lambda: record(
            "receive",
            lambda level: rules.difference(level, quantity),
            sku=sku,
            location=location,
            reference=reference,
            note=note,
            provenance=provenance,
            now=now,
        ),
    )


def adjust_stock(
    *,
    request: KeyedRequest,
    sku: str,
    delta: int,
    reason: str,
    provenance: Provenance,
    now: datetime,
    location: str = MAIN_LOCATION,
    note: str = "",
) -> Answer:
    """
    Correct the units on hand by delta, which is not 0.

    Raises StockBelowZero when more would be taken than there is, and what receive_stock raises.
    """
    return answer_once(
        request,
        lambda: record(
            "adjust",
            lambda level: rules.difference(level, delta),
            sku=sku,
            location=location,
            reason=reason,
            note=note,
            provenance=provenance,
            now=now,
        ),
    )


def set_stock(
    *,
    request: KeyedRequest,
    sku: str,
    on_hand: int,
    expected_on_hand: int,
    reason: str,
    provenance: Provenance,
    now: datetime,
    location: str = MAIN_LOCATION,
    note: str = "",
) -> Answer:
    """
    Set the units on hand to what was counted, if the books still say expected_on_hand.

    Raises StockChanged when they say something else, and what receive_stock raises.
    """

    def change_of(level: Level) -> Change:
        if level.on_hand != expected_on_hand:
            raise StockChanged(sku, on_hand=level.on_hand)
        return rules.difference(level, on_hand - level.on_hand)

    return answer_once(
        request,
        lambda: record(
            "adjust",
            change_of,
            sku=sku,
            location=location,
            reason=reason,
            note=note,
            provenance=provenance,
            now=now,
        ),
    )


def count_stock(
    *,
    request: KeyedRequest,
    sku: str,
    counted: int,
    expected_on_hand: int | None,
    provenance: Provenance,
    now: datetime,
    location: str = MAIN_LOCATION,
    note: str = "",
) -> Answer:
    """
    Set the units on hand to what was counted.

    expected_on_hand: what the books said when counting began, None to take them as they are.
    Raises StockChanged when they say something else, and what receive_stock raises.
    """

    def change_of(level: Level) -> Change:
        if expected_on_hand not in (None, level.on_hand):
            raise StockChanged(sku, on_hand=level.on_hand)
        return rules.difference(level, counted - level.on_hand)

    return answer_once(
        request,
        lambda: record(
            "count",
            change_of,
            sku=sku,
            location=location,
            reason="count",
            note=note,
            provenance=provenance,
            now=now,
        ),
    )


def quarantine_stock(
    *,
    request: KeyedRequest,
    sku: str,
    delta: int,
    reason: str,
    provenance: Provenance,
    now: datetime,
    location: str = MAIN_LOCATION,
    note: str = "",
) -> Answer:
    """
    Put units that are on hand into quarantine, or take them out of it: delta, which is not 0.

    They are not sold while they are in it; promised ones show as shortfall. Raises
    QuarantineOutOfRange, and what receive_stock raises.
    """

    def change_of(level: Level) -> Change:
        if not 0 <= level.unavailable + delta <= level.on_hand:
            raise QuarantineOutOfRange(
                sku, on_hand=level.on_hand, unavailable=level.unavailable, delta=delta
            )
        return Change(unavailable=delta)

    return answer_once(
        request,
        lambda: record(
            "quarantine",
            change_of,
            sku=sku,
            location=location,
            reason=reason,
            note=note,
            provenance=provenance,
            now=now,
        ),
    )


def set_policy(
    sku: str,
    *,
    location: str,
    provenance: Provenance,
    now: datetime,
    **policy: int,
) -> StockLevel:
    """
    Set a level's safety stock, low_at or backorder_limit, each 0 or more; return the level.

    What is not named stays; the same twice changes nothing more. Raises BackorderLimitTooLow,
    SkuNotFound, SkuUntracked, LocationNotFound, and what commit raises.
    """

    def work() -> StockLevel:
        level = lock_level(sku, location)
        if policy.get("backorder_limit", level.waiting) < level.waiting:
            raise BackorderLimitTooLow(sku, location, waiting=level.waiting)
        said = storage.set_policy(level.id, **policy)
        if said:
            limit = policy.get("backorder_limit", level.backorder_limit)
            safety = policy.get("safety", level.safety)
            after = rules.moved(level._replace(safety=safety, backorder_limit=limit), Change())
            book(
                [
                    Movement(
                        "policy",
                        Change(),
                        after,
                        at=now,
                        reference=", ".join(said),
                        provenance=provenance,
                    )
                ]
            )
        return storage.get_level(level.id)

    return commit(work)


def record(
    kind: MovementKind,
    change_of: Callable[[Level], Change],
    *,
    sku: str,
    location: str,
    provenance: Provenance,
    now: datetime,
    reason: str = "",
    reference: str = "",
    note: str = "",
) -> Answer:
    """Change one locked level by what change_of says of it, and tell of it."""
    level = lock_level(sku, location)
    change = change_of(level)
    after = rules.settled(level, change)
    movement = Movement(
        kind,
        change,
        after,
        at=now,
        shortfall_change=after.shortfall - level.shortfall,
        reason=reason,
        reference=reference,
        note=note,
        provenance=provenance,
    )
    told = told_of(movement)
    record_events([event_of(movement)])
    book([movement])
    return Answer(201, json.dumps(told, ensure_ascii=False, separators=(",", ":")))


def told_of(movement: Movement) -> dict[str, Any]:
    """Return what is told of a movement that people made."""
    after = movement.after
    return {
        "sku": after.sku,
        "location": after.location,
        "kind": movement.kind,
        "on_hand_change": movement.change.on_hand,
        "on_hand": after.on_hand,
        "available": after.available,
        "shortfall": after.shortfall,
        "unavailable": after.unavailable,
        "reason": movement.reason,
        "reference": movement.reference,
        "note": movement.note,
        "version": after.version,
    }


def event_of(movement: Movement) -> NewEvent:
    """Return the event of a movement that people made."""
    after = movement.after
    return NewEvent(
        EVENTS.get(movement.kind, "stock.adjusted"),
        "stock",
        f"{after.sku}@{after.location}",
        after.version,
        told_of(movement),
        at=movement.at,
    )


def lock_level(sku: str, location: str) -> Level:
    """
    Lock a SKU's level at a location, made if the SKU has none there; return it.

    Joins the caller's transaction. Raises SkuNotFound, SkuUntracked, LocationNotFound.
    """
    place = (sku, location)
    levels = storage.lock_places([place])
    if not levels:
        storage.open_place(*place)
        levels = storage.lock_places([place])
    return levels[place]

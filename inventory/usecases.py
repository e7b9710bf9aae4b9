"""The public door of inventory: what is sold, what is there, and every way to move it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from events.usecases import Answer, KeyedRequest, NewEvent, answer_once, record_events
from inventory import booking, codepaths, rules, storage
from inventory.allocating import allocate
from inventory.allocations import draw_units, release_order, release_orders, take_back
from inventory.granting import Demand, Grant, Pick, Shortage
from inventory.holding import (
    HoldChanged,
    HoldFilter,
    HoldInvalid,
    HoldLifeExceeded,
    HoldLimitReached,
    HoldLine,
    HoldNotFound,
    HoldNotLive,
    TooFewToHold,
)
from inventory.holds import (
    expire_holds,
    extend_hold,
    find_holds,
    get_hold,
    hold_document,
    list_holds,
    place_hold,
    release_hold,
)
from inventory.models import Movement as MovementRow
from inventory.models import Sku as SkuRow
from inventory.promises import Draw, Drawn, NotAllocated, NotOnHand, Return
from inventory.rules import (
    MAIN_LOCATION,
    PRICE_MINOR_MAX,
    RESERVED_CODES,
    SKU_CODE,
    Availability,
    Change,
    Hold,
    Level,
    LocationNotFound,
    Movement,
    MovementKind,
    NothingAllocated,
    Provenance,
    Sku,
    SkuExists,
    SkuNotFound,
    SkuUntracked,
    StockAboveLimit,
    StockBelowZero,
    StockChanged,
    money_text,
)

__all__ = [
    "MAIN_LOCATION",
    "PRICE_MINOR_MAX",
    "SKU_CODE",
    "Availability",
    "Demand",
    "Draw",
    "Drawn",
    "Grant",
    "Hold",
    "HoldChanged",
    "HoldFilter",
    "HoldInvalid",
    "HoldLifeExceeded",
    "HoldLimitReached",
    "HoldLine",
    "HoldNotFound",
    "HoldNotLive",
    "Level",
    "LocationNotFound",
    "NotAllocated",
    "NotOnHand",
    "NothingAllocated",
    "Pick",
    "Provenance",
    "Return",
    "Shortage",
    "Sku",
    "SkuExists",
    "SkuNotFound",
    "SkuUntracked",
    "StockAboveLimit",
    "StockBelowZero",
    "StockChanged",
    "TooFewToHold",
    "adjust_stock",
    "allocate",
    "book",
    "create_sku",
    "draw_units",
    "expire_holds",
    "extend_hold",
    "find_holds",
    "find_skus",
    "get_hold",
    "get_sku",
    "get_stock",
    "hold_document",
    "list_holds",
    "list_movements",
    "list_order_movements",
    "list_skus",
    "list_stock",
    "lock_stock",
    "money_text",
    "place_hold",
    "read_availability",
    "receive_stock",
    "release_hold",
    "release_order",
    "release_orders",
    "set_stock",
    "take_back",
    "update_sku",
]

EVENTS = {"receive": "stock.received"}
# Every way to set units free goes through it, so that what is free goes to who waits.
book = booking.book


def create_sku(
    *,
    code: str,
    name: str,
    price_minor: int,
    currency: str,
    is_active: bool = True,
    is_tracked: bool = True,
) -> SkuRow:
    """
    Add a SKU, with an empty level at the main location; raises SkuExists for a code that is taken.

    price_minor: minor units of currency, 0 … PRICE_MINOR_MAX.
    """
    if code in RESERVED_CODES:
        raise SkuExists(code)
    try:
        with transaction.atomic():
            sku = SkuRow.objects.create(
                code=code,
                name=name,
                price_minor=price_minor,
                currency=currency,
                is_active=is_active,
                is_tracked=is_tracked,
            )
            storage.open_level(sku, storage.get_location(MAIN_LOCATION))
    except IntegrityError as failure:
        if SkuRow.objects.filter(code=code).exists():
            raise SkuExists(code) from failure
        raise
    return sku


def get_sku(code: str) -> SkuRow:
    """Return a SKU; raises SkuNotFound."""
    return storage.get_sku(code)


def find_skus(codes: Iterable[str]) -> dict[str, Sku]:
    """Return SKUs as they are now, by code; a code that does not exist is not in the answer."""
    return storage.find_skus(codes)


def list_skus(*, after: str = "", limit: int) -> tuple[list[SkuRow], str | None]:
    """Return at most limit SKUs whose code comes after another, and the code to go on after."""
    return _page(storage.list_skus(), after=after, limit=limit)


def list_stock(*, after: str = "", limit: int) -> tuple[list[SkuRow], str | None]:
    """Return a page of SKUs as list_skus does, each with its levels; tracked ones only."""
    return _page(storage.list_stock().filter(is_tracked=True), after=after, limit=limit)


def _page(skus: QuerySet[SkuRow], *, after: str, limit: int) -> tuple[list[SkuRow], str | None]:
    rows = list(skus.filter(code__gt=after)[: limit + 1])
    return rows[:limit], rows[limit - 1].code if len(rows) > limit else None


def get_stock(code: str) -> SkuRow:
    """Return a SKU with its levels; raises SkuNotFound."""
    sku = storage.list_stock().filter(code=code).first()
    if sku is None:
        raise SkuNotFound(code)
    return sku


def list_movements(
    code: str, *, location: str = MAIN_LOCATION, before_version: int | None = None, limit: int
) -> tuple[list[MovementRow], str | None]:
    """
    Return at most limit rows of a SKU's ledger, newest first, and the version to go on before.

    Raises SkuNotFound.
    """
    storage.get_sku(code)
    movements = storage.list_movements(code, location=location)
    if before_version is not None:
        movements = movements.filter(level_version__lt=before_version)
    rows = list(movements[: limit + 1])
    return rows[:limit], str(rows[limit - 1].level_version) if len(rows) > limit else None


def list_order_movements(order_id: UUID) -> list[MovementRow]:
    """Return every ledger row of an order, first to last; empty for an order without stock."""
    return list(storage.list_movements_of_order(order_id))


def read_availability(codes: Sequence[str], *, now: datetime) -> dict[str, Availability]:
    """
    Return what can be ordered of SKUs, by code; unknown codes are not in the answer.

    Each says since when it is known: at most AVAILABILITY_CACHE_S ago.
    """
    found: dict[str, Availability] = codepaths.availability(codes, now=now)
    return found


def update_sku(code: str, **changes: Any) -> SkuRow:
    """
    Change a SKU's name, price_minor, currency or is_active; return it. Raises SkuNotFound.

    Orders placed before keep their prices. Whether a SKU is tracked never changes: orders of it
    have units allocated or they have not.
    """
    with transaction.atomic():
        sku = storage.lock_sku(code)
        for name, value in changes.items():
            setattr(sku, name, value)
        sku.save(update_fields=[*changes, "updated_at"])
    return sku


def receive_stock(
    *,
    request: KeyedRequest,
    sku: str,
    quantity: int,
    provenance: Provenance,
    now: datetime,
    location: str = MAIN_LOCATION,
    reference: str = "",
) -> Answer:
    """
    Add units that came in. quantity: 1 or more.

    Raises SkuNotFound, SkuUntracked, LocationNotFound, StockAboveLimit, and what answer_once
    raises.
    """

    return answer_once(
        request,
        lambda: _record(
            "receive",
            lambda level: rules.difference(level, quantity),
            sku=sku,
            location=location,
            reference=reference,
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
) -> Answer:
    """
    Correct the units on hand by delta, which is not 0.

    Raises StockBelowZero when more would be taken than there is, and what receive_stock raises.
    """
    return answer_once(
        request,
        lambda: _record(
            "adjust",
            lambda level: rules.difference(level, delta),
            sku=sku,
            location=location,
            reason=reason,
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
        lambda: _record(
            "adjust",
            change_of,
            sku=sku,
            location=location,
            reason=reason,
            provenance=provenance,
            now=now,
        ),
    )


def _record(
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
    told = {
        "sku": sku,
        "location": location,
        "kind": movement.kind,
        "on_hand_change": movement.change.on_hand,
        "on_hand": after.on_hand,
        "available": after.available,
        "shortfall": after.shortfall,
        "reason": movement.reason,
        "reference": movement.reference,
        "version": after.version,
    }
    event = EVENTS.get(kind, "stock.adjusted")
    record_events([NewEvent(event, "stock", f"{sku}@{location}", after.version, told, at=now)])
    book([movement])
    return Answer(201, json.dumps(told, ensure_ascii=False, separators=(",", ":")))


def lock_level(sku: str, location: str) -> Level:
    """
    Lock a SKU's level at a location, made if the SKU has none there; return it.

    Joins the caller's transaction. Raises SkuNotFound, SkuUntracked, LocationNotFound.
    """
    place = storage.get_location(location)
    levels = storage.lock_places([(sku, location)])
    if levels:
        return levels[sku, location]
    row = storage.get_sku(sku)
    if not row.is_tracked:
        raise SkuUntracked(sku)
    storage.open_level(row, place)
    return storage.lock_places([(sku, location)])[sku, location]


def lock_stock(
    codes: Sequence[str], *, waits: bool = True
) -> tuple[Mapping[str, Sku], Mapping[str, Sequence[Level]], Set[str]]:
    """
    Return SKUs as they are now and the locked levels of those that are tracked, both by code.

    Third come the codes that are busy and so in neither: their levels could not be locked now.
    waits: without it, whatever somebody else has locked is busy at once.
    Joins the caller's transaction, in which the levels stay locked; one round trip inside a
    pipeline. Codes that do not exist are not in the answer.
    """
    return storage.lock_stock(codes, waits=waits)

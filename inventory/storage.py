"""
Every query on stock, every lock and every movement.

Lock order of the whole program: keys, then orders, then levels by ascending id. lock_stock,
lock_promises and lock_places are what locks levels, move_levels the one function that writes
them.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import QuerySet

from events.usecases import document, hot_cursor
from inventory.models import Location, Movement, StockLevel
from inventory.models import Sku as SkuRow
from inventory.promises import Drawn, Promise
from inventory.rules import Availability, Level, LocationNotFound, Sku, SkuNotFound
from inventory.rules import Movement as NewMovement

# Codes travel as one text: no code has a comma, and adapting a list costs more than all the rest.
# A plain multi-row UPDATE takes its locks in any order; ORDER BY before FOR UPDATE does not.
LOCK_LEVELS = """
SELECT l.id, s.code, l.on_hand, l.unavailable, l.safety, l.held, l.allocated, l.incoming,
       l.backorder_limit, l.shortfall, l.version
  FROM inventory_stocklevel l
  JOIN inventory_sku s ON s.id = l.sku_id
  JOIN inventory_location o ON o.id = l.location_id
 WHERE s.code = ANY(string_to_array(%s, ',')) AND s.is_tracked AND o.code = %s
 ORDER BY l.id
   FOR NO KEY UPDATE OF l
"""

LOCK_FREE_LEVELS = f"{LOCK_LEVELS} SKIP LOCKED"

READ_SKUS = """
SELECT id, code, name, price_minor, currency, is_active, is_tracked
  FROM inventory_sku
 WHERE code = ANY(string_to_array(%s, ','))
"""

WRITE_LEVELS = """
UPDATE inventory_stocklevel l
   SET on_hand = r.on_hand, unavailable = r.unavailable, held = r.held, allocated = r.allocated,
       incoming = r.incoming, shortfall = r.shortfall, version = r.version
  FROM jsonb_to_recordset(%s::jsonb)
    AS r(id bigint, on_hand bigint, unavailable bigint, held bigint, allocated bigint,
         incoming bigint, shortfall bigint, version bigint)
 WHERE l.id = r.id
"""

ADD_MOVEMENTS = """
INSERT INTO inventory_movement
       (level_id, level_version, kind,
        on_hand_change, unavailable_change, held_change, allocated_change, incoming_change,
        shortfall_change,
        on_hand_after, unavailable_after, held_after, allocated_after, incoming_after,
        shortfall_after,
        reason, reference, order_id, actor, source, served_version, rules_generation,
        trace_id, created_at)
SELECT l, v, k, dp, du, dh, da, di, ds, p, u, h, a, i, s, why, ref, o, who, src, served, rules,
       trace, at
  FROM jsonb_to_recordset(%s::jsonb)
    AS r(l bigint, v bigint, k text,
         dp bigint, du bigint, dh bigint, da bigint, di bigint, ds bigint,
         p bigint, u bigint, h bigint, a bigint, i bigint, s bigint,
         why text, ref text, o uuid, who text, src text, served text, rules bigint,
         trace text,
         at timestamptz)
"""

ADD_ALLOCATIONS = """
INSERT INTO inventory_allocation (order_id, level_id, units, released_units, shipped_units)
SELECT o, l, n, 0, 0 FROM jsonb_to_recordset(%s::jsonb) AS r(o uuid, l bigint, n bigint)
    ON CONFLICT (order_id, level_id)
    DO UPDATE SET units = inventory_allocation.units + excluded.units
"""

# Several orders at once: their levels must be locked in one go, or two sweepers would wait for
# each other crosswise.
LOCK_PROMISES = """
SELECT a.id, a.order_id, o.code, a.units - a.released_units - a.shipped_units,
       l.id, s.code, l.on_hand, l.unavailable, l.safety, l.held, l.allocated, l.incoming,
       l.backorder_limit, l.shortfall, l.version
  FROM inventory_allocation a
  JOIN inventory_stocklevel l ON l.id = a.level_id
  JOIN inventory_sku s ON s.id = l.sku_id
  JOIN inventory_location o ON o.id = l.location_id
 WHERE a.order_id = ANY(string_to_array(%s, ',')::uuid[])
   AND a.units > a.released_units + a.shipped_units
 ORDER BY l.id, a.id
   FOR NO KEY UPDATE OF l
"""

DRAW_PROMISES = """
UPDATE inventory_allocation a
   SET released_units = a.released_units + r.released, shipped_units = a.shipped_units + r.shipped
  FROM (SELECT id, sum(released) AS released, sum(shipped) AS shipped
          FROM jsonb_to_recordset(%s::jsonb) AS d(id bigint, released bigint, shipped bigint)
         GROUP BY id) AS r
 WHERE a.id = r.id
"""

LOCK_PLACES = """
SELECT o.code,
       l.id, s.code, l.on_hand, l.unavailable, l.safety, l.held, l.allocated, l.incoming,
       l.backorder_limit, l.shortfall, l.version
  FROM jsonb_to_recordset(%s::jsonb) AS r(sku text, location text)
  JOIN inventory_sku s ON s.code = r.sku
  JOIN inventory_location o ON o.code = r.location
  JOIN inventory_stocklevel l ON l.sku_id = s.id AND l.location_id = o.id
 WHERE s.is_tracked
 ORDER BY l.id
   FOR NO KEY UPDATE OF l
"""

# Statements that the server prepares; a test prepares each against the migrated schema.
HOT_STATEMENTS = (
    LOCK_LEVELS,
    LOCK_FREE_LEVELS,
    READ_SKUS,
    WRITE_LEVELS,
    ADD_MOVEMENTS,
    ADD_ALLOCATIONS,
    LOCK_PROMISES,
    DRAW_PROMISES,
    LOCK_PLACES,
)


def lock_stock(
    codes: Iterable[str], *, location: str, waits: bool = True
) -> tuple[dict[str, Sku], dict[str, Level], set[str]]:
    """
    Return SKUs as they are now, their levels locked by ascending id, and the codes that are busy.

    Both by code, for as long as the transaction lasts; a code that is unknown is in none of the
    three, one that is not tracked has no level. A busy SKU is tracked and its level could not be
    locked now; waits: without it, a level that somebody else has locked is busy at once.
    The SKUs are read after the lock was had, so a price is the one at the time of the sale.
    Both statements travel together: one round trip inside a pipeline.
    """
    text = ",".join(codes)
    levels = hot_cursor().execute(LOCK_LEVELS if waits else LOCK_FREE_LEVELS, (text, location))
    skus = hot_cursor().execute(READ_SKUS, (text,))
    level_by_code = {row[1]: Level(*row) for row in levels}
    sku_by_code = {row[1]: Sku(*row) for row in skus}
    # Busy too is a SKU made while the first statement waited: the second one alone sees it. Without
    # its level it would pass for untracked, and be sold without end.
    busy = {sku.code for sku in sku_by_code.values() if sku.is_tracked} - level_by_code.keys()
    for code in busy:
        del sku_by_code[code]
    return sku_by_code, level_by_code, busy


def find_skus(codes: Iterable[str]) -> dict[str, Sku]:
    """Return SKUs as they are now, by code; a code that does not exist is not in the answer."""
    rows = hot_cursor().execute(READ_SKUS, (",".join(codes),))
    return {row[1]: Sku(*row) for row in rows}


def move_levels(movements: Sequence[NewMovement]) -> None:
    """
    Write the levels that movements led to, and the movements themselves.

    The levels must be locked; several movements of one level stand in their order.
    Nothing is read back, so it joins a pipeline.
    """
    last = {movement.after.id: movement.after for movement in movements}
    levels = [
        {
            "id": level.id,
            "on_hand": level.on_hand,
            "unavailable": level.unavailable,
            "held": level.held,
            "allocated": level.allocated,
            "incoming": level.incoming,
            "shortfall": level.shortfall,
            "version": level.version,
        }
        for level in last.values()
    ]
    hot_cursor().execute(WRITE_LEVELS, (document(levels),))
    rows = [_movement_row(movement) for movement in movements]
    hot_cursor().execute(ADD_MOVEMENTS, (document(rows),))


def _movement_row(movement: NewMovement) -> dict[str, Any]:
    # Short names: they travel once for each movement of a batch.
    change, after, provenance = movement.change, movement.after, movement.provenance
    return {
        "l": after.id, "v": after.version, "k": movement.kind,
        "dp": change.on_hand, "du": change.unavailable, "dh": change.held,
        "da": change.allocated, "di": change.incoming, "ds": movement.shortfall_change,
        "p": after.on_hand, "u": after.unavailable, "h": after.held,
        "a": after.allocated, "i": after.incoming, "s": after.shortfall,
        "why": movement.reason, "ref": movement.reference, "o": movement.order_id,
        "who": provenance.actor, "src": provenance.source,
        "served": provenance.served_version, "rules": provenance.rules_generation,
        "trace": provenance.trace_id,
        "at": movement.at,
    }  # fmt: skip


def add_allocations(allocations: Sequence[tuple[UUID, int, int]]) -> None:
    """
    Promise units to orders: (order id, level id, units) each. Joins a pipeline.

    An order that was promised some before, and lost them, has these besides.
    """
    rows = [{"o": order_id, "l": level_id, "n": units} for order_id, level_id, units in allocations]
    hot_cursor().execute(ADD_ALLOCATIONS, (document(rows),))


def lock_promises(order_ids: Iterable[UUID]) -> list[Promise]:
    """
    Lock the levels on which orders have open units, by ascending id, and return what is open.

    The orders themselves must be locked: that is what keeps their allocations as they are.
    """
    asked = ",".join(map(str, order_ids))
    return [
        Promise(row[0], row[1], row[2], row[3], Level(*row[4:]))
        for row in hot_cursor().execute(LOCK_PROMISES, (asked,))
    ]


def draw_promises(drawn: Sequence[Drawn]) -> None:
    """Note what left which allocation; more than is open breaks its constraint."""
    rows = [
        {"id": taken.promise.id, "released": 0, "shipped": taken.units}
        if taken.fate == "ship"
        else {"id": taken.promise.id, "released": taken.units, "shipped": 0}
        for taken in drawn
    ]
    hot_cursor().execute(DRAW_PROMISES, (document(rows),))


def lock_places(places: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Level]:
    """Lock levels by SKU and location, by ascending id; one that is not there is not returned."""
    rows = [{"sku": sku, "location": location} for sku, location in places]
    return {
        (row[2], row[0]): Level(*row[1:])
        for row in hot_cursor().execute(LOCK_PLACES, (document(rows),))
    }


def find_tracked(codes: Iterable[str]) -> set[str]:
    """Return those of some SKUs that have stock; whether one has never changes."""
    return {code for code, sku in find_skus(codes).items() if sku.is_tracked}


def get_sku(code: str) -> SkuRow:
    """Return a SKU by its code; raises SkuNotFound."""
    try:
        return SkuRow.objects.get(code=code)
    except SkuRow.DoesNotExist:
        raise SkuNotFound(code) from None


def lock_sku(code: str) -> SkuRow:
    """Lock a SKU against other changes of itself, not against orders; raises SkuNotFound."""
    try:
        return SkuRow.objects.select_for_update(no_key=True).get(code=code)
    except SkuRow.DoesNotExist:
        raise SkuNotFound(code) from None


def get_location(code: str) -> Location:
    """Return a location by its code; raises LocationNotFound."""
    try:
        return Location.objects.get(code=code)
    except Location.DoesNotExist:
        raise LocationNotFound(code) from None


def list_skus() -> QuerySet[SkuRow]:
    """Return all SKUs by code."""
    return SkuRow.objects.order_by("code")


def list_stock() -> QuerySet[SkuRow]:
    """Return all SKUs by code, each with its levels and their locations."""
    levels = StockLevel.objects.select_related("location").order_by("location__code")
    return list_skus().prefetch_related(models.Prefetch("levels", queryset=levels))


def read_availability(codes: Iterable[str], *, now: datetime) -> dict[str, Availability]:
    """Return what can be ordered of SKUs now, by code; without a lock, for information."""
    available = models.F("on_hand") - models.F("unavailable") - models.F("safety")
    rows = StockLevel.objects.filter(sku__code__in=list(codes)).values_list(
        "sku__code",
        "sku__is_active",
        "sku__is_tracked",
        available - models.F("held") - models.F("allocated"),
    )
    found: dict[str, Availability] = {}
    for code, is_active, is_tracked, units in rows:
        before = found[code].available if code in found else 0
        total = (before or 0) + max(0, units) if is_tracked else None
        found[code] = Availability(is_active, total, as_of=now)
    return found


def list_movements(code: str, *, location: str) -> QuerySet[Movement]:
    """Return the ledger of a SKU at a location, newest first."""
    return (
        Movement.objects.filter(level__sku__code=code, level__location__code=location)
        .select_related("level__sku", "level__location")
        .order_by("-level_version")
    )


def list_movements_of_order(order_id: UUID) -> QuerySet[Movement]:
    """Return the ledger rows of an order, first to last."""
    return (
        Movement.objects.filter(order_id=order_id)
        .select_related("level__sku", "level__location")
        .order_by("id")
    )

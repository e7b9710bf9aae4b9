"""
Every query on stock, every lock and every movement.

Lock order of the whole program: keys, then orders, then the account of a new hold, then levels by
ascending id. A hold is locked by its levels, see holdstore. lock_stock, lock_promises, lock_places
and lock_hold_levels are what locks levels, move_levels is what writes them, take_free_units does
both.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from time import perf_counter
from typing import Any
from uuid import UUID

from django.db import IntegrityError, models
from django.db.models import QuerySet
from psycopg.errors import NotNullViolation

from events.usecases import document, hot_cursor
from inventory.granting import Demand, Pick, Waiting
from inventory.metrics import LOCK_WAIT
from inventory.models import Allocation, Location, Movement, StockLevel
from inventory.models import Sku as SkuRow
from inventory.promises import Drawn, Promise
from inventory.refusals import NoSuchLocation
from inventory.rules import (
    Availability,
    Level,
    LocationNotFound,
    Sku,
    SkuNotFound,
    SkuUntracked,
)
from inventory.rules import Movement as NewMovement

Row = tuple[Any, ...]

# Codes travel as one text: no code has a comma, and adapting a list costs more than all the rest.
# By a sub-select: else the server would plan each time anew, for just these codes.
_IS_ASKED_FOR = "s.code = ANY((SELECT string_to_array(%s, ','))::text[])"

# A plain multi-row UPDATE takes its locks in any order; ORDER BY before FOR UPDATE does not.
_LEVEL = """
       l.id, s.code, l.on_hand, l.unavailable, l.safety, l.held, l.allocated, l.waiting,
       l.incoming, l.backorder_limit, l.shortfall, l.version,
       o.code, o.priority, o.is_active, s.sell_policy"""

_OF_LEVEL = """
  JOIN inventory_sku s ON s.id = l.sku_id
  JOIN inventory_location o ON o.id = l.location_id"""

LOCK_LEVELS = f"""
SELECT {_LEVEL}
  FROM inventory_stocklevel l {_OF_LEVEL}
 WHERE {_IS_ASKED_FOR} AND s.is_tracked
 ORDER BY l.id
   FOR NO KEY UPDATE OF l
"""

LOCK_FREE_LEVELS = f"{LOCK_LEVELS} SKIP LOCKED"

COUNT_LEVELS = f"""
SELECT s.code, count(l.id)
  FROM inventory_sku s JOIN inventory_stocklevel l ON l.sku_id = s.id
 WHERE {_IS_ASKED_FOR} AND s.is_tracked
 GROUP BY s.code
"""

_SKU = "s.id, s.code, s.name, s.price_minor, s.currency, s.is_active, s.is_tracked, s.sell_policy"
_SKU_WIDTH = _SKU.count(",") + 1

READ_SKUS = f"""
SELECT {_SKU}
  FROM inventory_sku s
 WHERE {_IS_ASKED_FOR}
"""

# A row for each level, and one for a SKU without any.
READ_STOCK = f"""
SELECT {_SKU}, {_LEVEL}
  FROM inventory_sku s
  LEFT JOIN inventory_stocklevel l ON l.sku_id = s.id AND s.is_tracked
  LEFT JOIN inventory_location o ON o.id = l.location_id
 WHERE {_IS_ASKED_FOR}
 ORDER BY l.id
"""

_INTO_LEDGER = """INSERT INTO inventory_movement
       (level_id, level_version, kind,
        on_hand_change, unavailable_change, held_change, allocated_change, incoming_change,
        shortfall_change, waiting_change,
        on_hand_after, unavailable_after, held_after, allocated_after, incoming_after,
        shortfall_after, waiting_after,
        reason, reference, note, order_id, hold_id, actor, source, served_version,
        rules_generation, trace_id, created_at)"""

# The level after the last of its movements, and all of them: one statement for the ledger's two
# halves, as none may be without the other.
MOVE_LEVELS = f"""
WITH levels AS (
    UPDATE inventory_stocklevel l
       SET on_hand = r.on_hand, unavailable = r.unavailable, held = r.held,
           allocated = r.allocated, waiting = r.waiting, incoming = r.incoming,
           shortfall = r.shortfall, version = r.version
      FROM jsonb_to_recordset(%s::jsonb)
        AS r(id bigint, on_hand bigint, unavailable bigint, held bigint, allocated bigint,
             waiting bigint, incoming bigint, shortfall bigint, version bigint)
     WHERE l.id = r.id
)
{_INTO_LEDGER}
SELECT l, v, k, dp, du, dh, da, di, ds, coalesce(dw, 0), p, u, h, a, i, s, coalesce(w, 0),
       why, ref, coalesce(note, ''), o, hold, who, src, served, rules, trace, at
  FROM jsonb_to_recordset(%s::jsonb)
    AS r(l bigint, v bigint, k text,
         dp bigint, du bigint, dh bigint, da bigint, di bigint, ds bigint, dw bigint,
         p bigint, u bigint, h bigint, a bigint, i bigint, s bigint, w bigint,
         why text, ref text, note text, o uuid, hold uuid, who text, src text, served text,
         rules bigint, trace text, at timestamptz)
"""

ADD_ALLOCATIONS = """
INSERT INTO inventory_allocation
       (order_id, level_id, units, released_units, shipped_units, waiting_units)
SELECT o, l, n, 0, 0, coalesce(w, 0)
  FROM jsonb_to_recordset(%s::jsonb) AS r(o uuid, l bigint, n bigint, w bigint)
    ON CONFLICT (order_id, level_id)
    DO UPDATE SET units = inventory_allocation.units + excluded.units,
                  waiting_units = inventory_allocation.waiting_units + excluded.waiting_units
"""

# Units of levels that had plenty of them when they were read, without a lock: that is had here, in
# the same order as everywhere, and what is written counts on from what is found then. Where that is
# not enough after all there is no version to write, and no row of the ledger is without one: the
# statement fails, and with it all of its transaction. Picks come with their level: joined to it
# here, without an index, each would be compared with every level. None is lost by the join: a level
# that had units has movements, which keep it from being deleted.
TAKE_FREE_UNITS = f"""
WITH levels AS MATERIALIZED (
    SELECT l.id, l.on_hand, l.unavailable, l.held, l.allocated, l.waiting, l.incoming,
           l.shortfall, l.version, r.units, r.picks,
           l.on_hand - l.unavailable - l.safety - l.held - l.allocated AS free
      FROM jsonb_to_recordset(%s::jsonb) AS r(id bigint, units bigint, picks jsonb)
      JOIN inventory_stocklevel l ON l.id = r.id
     ORDER BY l.id
       FOR NO KEY UPDATE OF l
), moved AS (
    UPDATE inventory_stocklevel l
       SET allocated = levels.allocated + levels.units,
           version = levels.version + jsonb_array_length(levels.picks)
      FROM levels
     WHERE l.id = levels.id AND levels.units <= levels.free
), picks AS MATERIALIZED (
    SELECT id, on_hand, unavailable, held, allocated, waiting, incoming, shortfall, version, free,
           p.*
      FROM levels,
           jsonb_to_recordset(levels.picks)
        AS p(n bigint, nth bigint, u bigint, taken bigint, o uuid, who text, src text, served text,
             rules bigint, trace text, at timestamptz)
     ORDER BY p.n
), promised AS (
    INSERT INTO inventory_allocation
           (order_id, level_id, units, released_units, shipped_units, waiting_units)
    SELECT o, id, u, 0, 0, 0 FROM picks
)
{_INTO_LEDGER}
SELECT id, CASE WHEN taken <= free THEN version + nth END, 'allocate',
       0, 0, 0, u, 0, 0, 0,
       on_hand, unavailable, held, allocated + taken, incoming, shortfall, waiting,
       '', '', '', o, NULL, who, src, served, rules, trace, at
  FROM picks
"""

# Several orders at once: their levels must be locked in one go, or two sweepers would wait for
# each other crosswise.
LOCK_LEVELS_OF_ORDERS = f"""
SELECT {_LEVEL}
  FROM inventory_stocklevel l {_OF_LEVEL}
 WHERE l.id IN (SELECT level_id FROM inventory_allocation
                 WHERE order_id = ANY(string_to_array(%s, ',')::uuid[])
                   AND units > released_units + shipped_units)
 ORDER BY l.id
   FOR NO KEY UPDATE OF l
"""

# A statement of its own: it sees what was filled while the one before waited for its locks.
READ_PROMISES = """
SELECT level_id, id, order_id, units - released_units - shipped_units, waiting_units
  FROM inventory_allocation
 WHERE order_id = ANY(string_to_array(%s, ',')::uuid[])
   AND units > released_units + shipped_units
 ORDER BY level_id, id
"""

DRAW_PROMISES = """
UPDATE inventory_allocation a
   SET released_units = a.released_units + r.released,
       shipped_units = a.shipped_units + r.shipped,
       waiting_units = a.waiting_units - r.waiting
  FROM (SELECT id, sum(released) AS released, sum(shipped) AS shipped, sum(waiting) AS waiting
          FROM jsonb_to_recordset(%s::jsonb)
            AS d(id bigint, released bigint, shipped bigint, waiting bigint)
         GROUP BY id) AS r
 WHERE a.id = r.id
"""

LOCK_PLACES = f"""
SELECT {_LEVEL}
  FROM jsonb_to_recordset(%s::jsonb) AS r(sku text, location text)
  JOIN inventory_sku s ON s.code = r.sku
  JOIN inventory_location o ON o.code = r.location
  JOIN inventory_stocklevel l ON l.sku_id = s.id AND l.location_id = o.id
 WHERE s.is_tracked
 ORDER BY l.id
   FOR NO KEY UPDATE OF l
"""

# All lines, open or not: they never change, so the set of levels is the same after the lock.
LOCK_LEVELS_OF_HOLDS = f"""
SELECT {_LEVEL}
  FROM inventory_stocklevel l {_OF_LEVEL}
 WHERE l.id IN (SELECT level_id FROM inventory_holdline
                 WHERE hold_id = ANY(string_to_array(%s, ',')::uuid[]))
 ORDER BY l.id
   FOR NO KEY UPDATE OF l
"""

LOCK_FREE_LEVELS_OF_HOLDS = f"{LOCK_LEVELS_OF_HOLDS} SKIP LOCKED"

READ_WAITING = """
SELECT id, order_id, waiting_units
  FROM inventory_allocation
 WHERE level_id = %s AND waiting_units > 0
 ORDER BY id
 LIMIT %s
"""

FILL_ALLOCATIONS = """
UPDATE inventory_allocation a
   SET waiting_units = a.waiting_units - r.n
  FROM jsonb_to_recordset(%s::jsonb) AS r(a bigint, n bigint)
 WHERE a.id = r.a
"""

# Statements that the server prepares; a test prepares each against the migrated schema.
HOT_STATEMENTS = (
    READ_STOCK,
    TAKE_FREE_UNITS,
    LOCK_LEVELS,
    LOCK_FREE_LEVELS,
    COUNT_LEVELS,
    READ_SKUS,
    MOVE_LEVELS,
    ADD_ALLOCATIONS,
    LOCK_LEVELS_OF_ORDERS,
    READ_PROMISES,
    DRAW_PROMISES,
    LOCK_PLACES,
    LOCK_LEVELS_OF_HOLDS,
    LOCK_FREE_LEVELS_OF_HOLDS,
    READ_WAITING,
    FILL_ALLOCATIONS,
)


def lock_stock(
    codes: Iterable[str], *, waits: bool = True
) -> tuple[dict[str, Sku], dict[str, list[Level]], set[str]]:
    """
    Return SKUs as they are now, their levels locked by ascending id, and the codes that are busy.

    All by code, for as long as the transaction lasts; a code that is unknown is in none of the
    three, one that is not tracked has no levels. A busy SKU is tracked and not all its levels
    could be locked now; waits: without it, what somebody else has locked is busy at once.
    The SKUs are read after the lock was had, so a price is the one at the time of the sale.
    The statements travel together: one round trip inside a pipeline.
    """
    text = ",".join(codes)
    began_s = perf_counter()
    levels = hot_cursor().execute(LOCK_LEVELS if waits else LOCK_FREE_LEVELS, (text,))
    skus = hot_cursor().execute(READ_SKUS, (text,))
    counts = None if waits else hot_cursor().execute(COUNT_LEVELS, (text,))
    locked = list(levels)
    LOCK_WAIT.observe(perf_counter() - began_s)
    sku_by_code, levels_by_code, busy = _by_code(locked, skus)
    if counts is not None:
        # On some of its levels it might seem to be out of stock.
        busy |= {code for code, n in counts if n > len(levels_by_code.get(code, ()))}
    for code in busy:
        sku_by_code.pop(code, None)
        levels_by_code.pop(code, None)
    return sku_by_code, levels_by_code, busy


def read_stock(
    codes: Iterable[str],
) -> tuple[dict[str, Sku], dict[str, list[Level]], set[str]]:
    """
    Return the same as lock_stock, and lock nothing: the levels may move on at any moment.

    One statement sees a SKU with its level or not at all: busy would be one that has lost it.
    """
    rows = hot_cursor().execute(READ_STOCK, (",".join(codes),)).fetchall()
    levels = (row[_SKU_WIDTH:] for row in rows)
    return _by_code(
        (level for level in levels if level[0] is not None), (row[:_SKU_WIDTH] for row in rows)
    )


def _by_code(
    levels: Iterable[Row], skus: Iterable[Row]
) -> tuple[dict[str, Sku], dict[str, list[Level]], set[str]]:
    levels_by_code: dict[str, list[Level]] = {}
    for row in levels:
        levels_by_code.setdefault(row[1], []).append(Level(*row))
    sku_by_code = {row[1]: Sku(*row) for row in skus}
    # Busy too is a SKU made while locks were waited for: of two statements only the second sees it.
    # Without its level it would pass for untracked, and be sold without end.
    busy = {sku.code for sku in sku_by_code.values() if sku.is_tracked} - levels_by_code.keys()
    return sku_by_code, levels_by_code, busy


def take_free_units(picks: Sequence[tuple[Demand, Pick]]) -> None:
    """
    Promise free units to orders that have none yet, of levels that are not locked before.

    Joins a pipeline. Where a level has fewer free units by then the transaction fails, with what
    is_shortage knows again.
    """
    levels: dict[int, dict[str, Any]] = {}
    for n, (demand, pick) in enumerate(picks):
        level = levels.setdefault(pick.level_id, {"id": pick.level_id, "units": 0, "picks": []})
        level["units"] += pick.units
        provenance = demand.provenance
        level["picks"].append({
            "n": n, "nth": len(level["picks"]) + 1, "u": pick.units, "taken": level["units"],
            "o": demand.order_id, "who": provenance.actor, "src": provenance.source,
            "served": provenance.served_version, "rules": provenance.rules_generation,
            "trace": provenance.trace_id, "at": demand.at,
        })  # fmt: skip
    hot_cursor().execute(TAKE_FREE_UNITS, (document(list(levels.values())),))


def is_shortage(failure: IntegrityError) -> bool:
    """Tell whether take_free_units found less free than there was."""
    cause = failure.__cause__
    return (
        isinstance(cause, NotNullViolation)
        and cause.diag.table_name == Movement._meta.db_table
        and cause.diag.column_name == "level_version"
    )


def open_level(sku: SkuRow, location: Location) -> None:
    """Give a SKU an empty level at a location, if it has none there."""
    open_levels([sku], location)


def open_levels(skus: Iterable[SkuRow], location: Location) -> None:
    """Give SKUs an empty level at a location, those that have none there."""
    levels = [StockLevel(sku=sku, location=location) for sku in skus]
    StockLevel.objects.bulk_create(levels, ignore_conflicts=True)


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
            "waiting": level.waiting,
            "incoming": level.incoming,
            "shortfall": level.shortfall,
            "version": level.version,
        }
        for level in last.values()
    ]
    rows = [_movement_row(movement) for movement in movements]
    hot_cursor().execute(MOVE_LEVELS, (document(levels), document(rows)))


def _movement_row(movement: NewMovement) -> dict[str, Any]:
    # Short names: they travel once for each movement of a batch.
    change, after, provenance = movement.change, movement.after, movement.provenance
    row = {
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
    # Rare, so they travel only where there is something to say.
    if after.waiting or change.waiting:
        row |= {"dw": change.waiting, "w": after.waiting}
    if movement.note:
        row["note"] = movement.note
    if movement.hold_id:
        row["hold"] = movement.hold_id
    return row


def add_allocations(allocations: Sequence[tuple[UUID, Pick]]) -> None:
    """
    Promise units of levels to orders. Joins a pipeline.

    An order that was promised some before, and lost them, has these besides.
    """
    rows = [
        {"o": order_id, "l": pick.level_id, "n": pick.units}
        | ({"w": pick.waiting} if pick.waiting else {})
        for order_id, pick in allocations
    ]
    hot_cursor().execute(ADD_ALLOCATIONS, (document(rows),))


def lock_promises(order_ids: Iterable[UUID]) -> list[Promise]:
    """
    Lock the levels on which orders have open units, by ascending id, and return what is open.

    The orders themselves must be locked: that is what keeps what is open as it is. How much of it
    waits is kept by the lock of the level, so it is read after that was had.
    """
    asked = ",".join(map(str, order_ids))
    locked = hot_cursor().execute(LOCK_LEVELS_OF_ORDERS, (asked,))
    levels = {row[0]: Level(*row) for row in locked}
    rows = hot_cursor().execute(READ_PROMISES, (asked,))
    return [
        Promise(id_, order_id, levels[level_id].location, units, levels[level_id], waiting)
        for level_id, id_, order_id, units, waiting in rows
    ]


def draw_promises(drawn: Sequence[Drawn]) -> None:
    """Note what left which allocation; more than is open breaks its constraint."""
    rows = [
        {
            "id": taken.promise.id,
            "released": 0 if taken.fate == "ship" else taken.units,
            "shipped": taken.units if taken.fate == "ship" else 0,
            "waiting": -taken.change.waiting,
        }
        for taken in drawn
    ]
    hot_cursor().execute(DRAW_PROMISES, (document(rows),))


def lock_places(places: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Level]:
    """Lock levels by SKU and location, by ascending id; one that is not there is not returned."""
    rows = [{"sku": sku, "location": location} for sku, location in places]
    levels = [Level(*row) for row in hot_cursor().execute(LOCK_PLACES, (document(rows),))]
    return {(level.sku, level.location): level for level in levels}


def lock_hold_levels(hold_ids: Iterable[UUID], *, waits: bool = True) -> dict[int, Level]:
    """
    Lock the levels of holds by ascending id and return them by id.

    waits: without it, levels that somebody else has locked are left out.
    """
    statement = LOCK_LEVELS_OF_HOLDS if waits else LOCK_FREE_LEVELS_OF_HOLDS
    rows = hot_cursor().execute(statement, (",".join(map(str, hold_ids)),))
    return {row[0]: Level(*row) for row in rows}


def find_tracked(codes: Iterable[str]) -> set[str]:
    """Return those of some SKUs that have stock; whether one has never changes."""
    return {code for code, sku in find_skus(codes).items() if sku.is_tracked}


def open_place(code: str, location: str) -> None:
    """
    Give a SKU an empty level at a location, if it has none there.

    Raises LocationNotFound, SkuNotFound, SkuUntracked.
    """
    place = get_location(location)
    sku = get_sku(code)
    if not sku.is_tracked:
        raise SkuUntracked(code)
    open_level(sku, place)


def list_waiting(level_id: int, *, limit: int) -> list[Waiting]:
    """Return who waits for units of a locked level, the oldest first."""
    rows = hot_cursor().execute(READ_WAITING, (level_id, limit))
    return [Waiting(*row) for row in rows]


def fill_allocations(fills: Sequence[Waiting]) -> None:
    """Note that units that orders waited for are there; the levels must be locked."""
    rows = [{"a": fill.allocation_id, "n": fill.units} for fill in fills]
    hot_cursor().execute(FILL_ALLOCATIONS, (document(rows),))


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


def find_location(code: str) -> Location:
    """Return the location that an address names; raises NoSuchLocation."""
    location = Location.objects.filter(code=code).first()
    if location is None:
        raise NoSuchLocation(code)
    return location


def lock_location(code: str) -> Location:
    """Lock a location against other changes of itself; raises NoSuchLocation."""
    location = Location.objects.select_for_update(no_key=True).filter(code=code).first()
    if location is None:
        raise NoSuchLocation(code)
    return location


def get_level(level_id: int) -> StockLevel:
    """Return a level with its SKU and location."""
    return StockLevel.objects.select_related("sku", "location").get(pk=level_id)


def set_policy(level_id: int, **policy: int) -> list[str]:
    """Write what a locked level's policy is from now on; return each change in words."""
    row = StockLevel.objects.values(*policy).get(pk=level_id)
    StockLevel.objects.filter(pk=level_id).update(**policy)
    return [
        f"{name} {row[name]} to {value}" for name, value in policy.items() if value != row[name]
    ]


def list_skus() -> QuerySet[SkuRow]:
    """Return all SKUs by code."""
    return SkuRow.objects.order_by("code")


def list_stock(*, state: str | None = None, location: str | None = None) -> QuerySet[SkuRow]:
    """
    Return SKUs by code, each with its levels and their locations.

    state and location narrow them to SKUs with such a level, which comes with all others.
    """
    levels = StockLevel.objects.select_related("location").order_by("location__code")
    skus = list_skus().prefetch_related(models.Prefetch("levels", queryset=levels))
    if state is None and location is None:
        return skus
    wanted = list_levels(state=state)
    if location is not None:
        wanted = wanted.filter(location__code=location)
    return skus.filter(models.Exists(wanted.filter(sku=models.OuterRef("pk"))))


def list_levels(*, state: str | None) -> QuerySet[StockLevel]:
    """Return levels, of which all, those low, short, or at which orders are waiting."""
    levels = StockLevel.objects.all()
    if state == "low":
        promised = models.F("held") + models.F("allocated") + models.F("unavailable")
        level = models.F("low_at") + models.F("safety") + promised
        return levels.filter(low_at__gt=0, on_hand__lt=level)
    if state == "shortfall":
        return levels.filter(shortfall__gt=0)
    return levels.filter(waiting__gt=0) if state == "waiting" else levels


def read_availability(codes: Iterable[str], *, now: datetime) -> dict[str, Availability]:
    """Return what can be ordered of SKUs now, by code; without a lock, for information."""
    available = models.F("on_hand") - models.F("unavailable") - models.F("safety")
    rows = StockLevel.objects.filter(sku__code__in=list(codes)).values_list(
        "sku__code",
        "sku__is_active",
        "sku__is_tracked",
        "location__is_active",
        available - models.F("held") - models.F("allocated"),
    )
    found: dict[str, Availability] = {}
    for code, is_active, is_tracked, is_open, units in rows:
        before = found[code].available if code in found else 0
        total = (before or 0) + max(0, units if is_open else 0) if is_tracked else None
        found[code] = Availability(is_active, total, as_of=now)
    return found


def list_movements(code: str, *, location: str) -> QuerySet[Movement]:
    """Return the ledger of a SKU at a location, newest first."""
    return (
        Movement.objects.filter(level__sku__code=code, level__location__code=location)
        .select_related("level__sku", "level__location")
        .order_by("-level_version")
    )


def list_allocations_of_order(order_id: UUID) -> QuerySet[Allocation]:
    """Return what an order was promised, by SKU and location."""
    return (
        Allocation.objects.filter(order_id=order_id)
        .select_related("level__sku", "level__location")
        .order_by("level__sku__code", "level__location__code")
    )


def list_movements_of_order(order_id: UUID) -> QuerySet[Movement]:
    """Return the ledger rows of an order, first to last."""
    return (
        Movement.objects.filter(order_id=order_id)
        .select_related("level__sku", "level__location")
        .order_by("id")
    )

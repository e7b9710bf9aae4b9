"""
Every query on holds. What writes joins the caller's transaction.

A hold has no lock of its own: it is changed only by who has locked every level of its lines, so
whoever has a level knows that its holds stay as they are. The lock of an account, which only new
holds take, stands before the levels.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet
from django.db.models.functions import Now

from events.usecases import document, hot_cursor
from inventory.holding import HoldFilter
from inventory.models import Hold as HoldRow
from inventory.models import HoldLine
from inventory.rules import HeldUnits, Hold, Level

# One of PostgreSQL's two-part advisory locks: the first part says what it is about.
ACCOUNT_LOCKS = 7_001

LOCK_ACCOUNT = "SELECT pg_advisory_xact_lock(%s, %s)"

COUNT_OPEN = """
SELECT count(*), coalesce(sum(units), 0)::bigint
  FROM inventory_hold
 WHERE account_id = %s AND state = 'live' AND expires_at > statement_timestamp()
"""

READ_HOLDS = """
SELECT h.id, h.account_id,
       CASE WHEN h.state = 'live' AND h.expires_at <= statement_timestamp()
            THEN 'expired' ELSE h.state END,
       h.state <> 'live', h.version,
       x.level_id, s.code, x.units, x.is_open
  FROM inventory_hold h
  JOIN inventory_holdline x ON x.hold_id = h.id
  JOIN inventory_stocklevel l ON l.id = x.level_id
  JOIN inventory_sku s ON s.id = l.sku_id
 WHERE h.id = ANY(string_to_array(%s, ',')::uuid[])
 ORDER BY h.id, x.level_id
"""

# Oldest deadline first, and no more than are wanted: a level may have any number of them.
FIND_EXPIRED = """
SELECT hold_id, level_id, units
  FROM (SELECT x.hold_id, x.level_id, x.units, x.expires_at, w.n AS wanted,
               sum(x.units) OVER (PARTITION BY x.level_id ORDER BY x.expires_at, x.hold_id)
               - x.units AS units_before
          FROM jsonb_to_recordset(%s::jsonb) AS w(l bigint, n bigint)
          JOIN inventory_holdline x ON x.level_id = w.l
         WHERE x.is_open AND x.expires_at <= statement_timestamp()
           AND x.hold_id <> ALL(string_to_array(%s, ',')::uuid[])) AS due
 WHERE units_before < wanted
 ORDER BY level_id, expires_at, hold_id
"""

ADD_HOLD = """
INSERT INTO inventory_hold
       (id, account_id, state, reference, units, expires_at, extendable_until, created_at,
        updated_at, version)
SELECT id, account, 'live', reference, units,
       statement_timestamp() + make_interval(secs => lasts_s),
       statement_timestamp() + make_interval(secs => lasts_s_max),
       statement_timestamp(), statement_timestamp(), 1
  FROM jsonb_to_recordset(%s::jsonb)
    AS r(id uuid, account bigint, reference text, units bigint, lasts_s int, lasts_s_max int)
"""

ADD_HOLD_LINES = """
INSERT INTO inventory_holdline (hold_id, level_id, units, is_open, expires_at)
SELECT h.id, r.l, r.n, true, h.expires_at
  FROM jsonb_to_recordset(%s::jsonb) AS r(h uuid, l bigint, n bigint)
  JOIN inventory_hold h ON h.id = r.h
"""

CLOSE_LINES = """
UPDATE inventory_holdline x
   SET is_open = false
  FROM jsonb_to_recordset(%s::jsonb) AS r(h uuid, l bigint)
 WHERE x.hold_id = r.h AND x.level_id = r.l
"""

CLOSE_HOLDS = """
UPDATE inventory_hold h
   SET state = r.state, order_id = r.o, version = r.version, updated_at = statement_timestamp()
  FROM jsonb_to_recordset(%s::jsonb) AS r(h uuid, state text, o uuid, version int)
 WHERE h.id = r.h
"""

# An extension never takes time away.
EXTEND_HOLD = """
UPDATE inventory_hold
   SET expires_at = greatest(expires_at, statement_timestamp() + make_interval(secs => %s)),
       version = version + 1, updated_at = statement_timestamp()
 WHERE id = %s AND statement_timestamp() + make_interval(secs => %s) <= extendable_until
"""

EXTEND_LINES = """
UPDATE inventory_holdline x SET expires_at = h.expires_at
  FROM inventory_hold h WHERE h.id = %s AND x.hold_id = h.id
"""

# Statements that the server prepares; a test prepares each against the migrated schema.
HOT_STATEMENTS = (
    LOCK_ACCOUNT,
    COUNT_OPEN,
    READ_HOLDS,
    FIND_EXPIRED,
    ADD_HOLD,
    ADD_HOLD_LINES,
    CLOSE_LINES,
    CLOSE_HOLDS,
    EXTEND_HOLD,
    EXTEND_LINES,
)


@dataclass(frozen=True, slots=True)
class Closing:
    """How a hold ends: converted into an order, released or expired. version: after it."""

    hold_id: UUID
    state: str
    version: int
    order_id: UUID | None = None


def lock_account(account_id: int) -> None:
    """Let no other hold of an account be placed until the transaction ends."""
    # Both parts have 32 bits; two accounts that share a number only wait for each other.
    hot_cursor().execute(LOCK_ACCOUNT, (ACCOUNT_LOCKS, account_id % 2**31))


def count_open(account_id: int) -> tuple[int, int]:
    """Return how many live holds an account has, and how many units they keep."""
    row = hot_cursor().execute(COUNT_OPEN, (account_id,)).fetchone()
    assert row is not None  # noqa: S101  # An aggregate always has a row.
    return row[0], row[1]


def find_holds(hold_ids: Iterable[UUID]) -> dict[UUID, Hold]:
    """Return holds as they are now, by id; one that does not exist is not in the answer."""
    asked = ",".join(map(str, hold_ids))
    found: dict[UUID, Hold] = {}
    for *hold, level_id, sku, units, is_open in hot_cursor().execute(READ_HOLDS, (asked,)):
        known = found.get(hold[0]) or Hold(*hold)
        line = HeldUnits(known.id, level_id, sku, units)
        found[known.id] = replace(
            known,
            lines=(*known.lines, line) if is_open else known.lines,
            level_ids=(*known.level_ids, level_id),
        )
    return found


def find_expired(
    wanted: Mapping[Level, int], *, spared: Iterable[UUID]
) -> dict[int, list[HeldUnits]]:
    """
    Return what holds still keep past their deadline by level id, oldest deadline first.

    wanted: locked levels and how many units of each, of which there are no more than needed.
    spared: holds that are not looked at.
    """
    rows = [{"l": level.id, "n": units} for level, units in wanted.items()]
    sku_by_level = {level.id: level.sku for level in wanted}
    found: dict[int, list[HeldUnits]] = {}
    for hold_id, level_id, units in hot_cursor().execute(
        FIND_EXPIRED, (document(rows), ",".join(map(str, spared)))
    ):
        line = HeldUnits(hold_id, level_id, sku_by_level[level_id], units)
        found.setdefault(level_id, []).append(line)
    return found


def add_hold(
    hold_id: UUID,
    *,
    account_id: int,
    reference: str,
    expires_in_s: int,
    life_s_max: int,
    units: Mapping[int, int],
) -> None:
    """Write a new hold and its lines; units by the id of a locked level."""
    hold: dict[str, Any] = {
        "id": hold_id,
        "account": account_id,
        "reference": reference,
        "units": sum(units.values()),
        "lasts_s": expires_in_s,
        "lasts_s_max": max(expires_in_s, life_s_max),
    }
    lines = [{"h": hold_id, "l": level_id, "n": n} for level_id, n in units.items()]
    hot_cursor().execute(ADD_HOLD, (document([hold]),))
    hot_cursor().execute(ADD_HOLD_LINES, (document(lines),))


def close_lines(lines: Iterable[HeldUnits]) -> None:
    """Note that lines keep nothing any more. Joins a pipeline."""
    rows = [{"h": line.hold_id, "l": line.level_id} for line in lines]
    hot_cursor().execute(CLOSE_LINES, (document(rows),))


def close_holds(closings: Sequence[Closing]) -> None:
    """Write how holds ended. Joins a pipeline."""
    rows = [
        {"h": each.hold_id, "state": each.state, "o": each.order_id, "version": each.version}
        for each in closings
    ]
    hot_cursor().execute(CLOSE_HOLDS, (document(rows),))


def extend_hold(hold_id: UUID, *, expires_in_s: int) -> bool:
    """Let a hold end this many seconds from now, if its life allows; tell whether it does."""
    asked = (expires_in_s, hold_id, expires_in_s)
    if hot_cursor().execute(EXTEND_HOLD, asked).rowcount == 0:
        return False
    hot_cursor().execute(EXTEND_LINES, (hold_id,))
    return True


def get_hold_row(hold_id: UUID) -> HoldRow:
    """Return a hold that is there, with its lines."""
    return list_holds(account_id=None).get(pk=hold_id)


def list_holds(*, account_id: int | None, where: HoldFilter | None = None) -> QuerySet[HoldRow]:
    """
    Return holds with their lines, newest first; account_id None sees every account's.

    Each has is_due: whether its deadline has passed.
    """
    lines = HoldLine.objects.select_related("level__sku", "level__location").order_by("level_id")
    holds = (
        HoldRow.objects.annotate(is_due=Q(expires_at__lte=Now()))  # type: ignore[no-redef]
        .prefetch_related(Prefetch("lines", queryset=lines))
        .order_by("-id")
    )
    if account_id is not None:
        holds = holds.filter(account_id=account_id)
    if where is None:
        return holds
    if where.reference is not None:
        holds = holds.filter(reference=where.reference)
    if where.sku is not None:
        of_sku = HoldLine.objects.filter(hold_id=OuterRef("pk"), level__sku__code=where.sku)
        holds = holds.filter(Exists(of_sku))
    if where.state == HoldRow.State.LIVE:
        return holds.filter(state="live", expires_at__gt=Now())
    if where.state == HoldRow.State.EXPIRED:
        return holds.filter(Q(state="expired") | Q(state="live", expires_at__lte=Now()))
    return holds.filter(state=where.state) if where.state is not None else holds


def list_due(*, limit: int) -> list[UUID]:
    """Return at most limit holds that nobody has swept since their deadline, oldest first."""
    due = HoldRow.objects.filter(state="live", expires_at__lte=Now()).order_by("expires_at")
    return list(due.values_list("pk", flat=True)[:limit])

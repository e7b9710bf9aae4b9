"""Queries of the feed."""

from collections.abc import Sequence
from dataclasses import dataclass

from events.durable import hot_cursor
from events.envelope import StoredEvent
from events.rules import Audience

HELD_BACK_COUNTED_MAX = 100

# The gate: every transaction below xmin is over, so nothing below it can still appear. feed_xid is
# never lower than the transaction that wrote the event, so the gate holds for it too.
SCAN_FEED = """
WITH scanned AS (
    SELECT feed_xid, position, id, type, aggregate_type, aggregate_id, aggregate_version, data,
           traceparent, occurred_at, account_id
      FROM events_event
     WHERE (feed_xid, position) > (%(xid)s, %(position)s)
       AND feed_xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                      + (SELECT last_value FROM events_feed_offset)
     ORDER BY feed_xid, position
     LIMIT %(scanned_max)s
), told AS (
    SELECT * FROM scanned
     WHERE (account_id = %(account_id)s
            OR (account_id IS NULL AND %(sees_shared)s)
            OR (account_id IS NOT NULL AND %(sees_all)s))
       AND (%(types)s::text[] = '{}' OR type = ANY(%(types)s)
            OR split_part(type, '.', 1) || '.*' = ANY(%(types)s))
     ORDER BY feed_xid, position
     LIMIT %(limit)s + 1
)
SELECT feed_xid, position, id, type, aggregate_type, aggregate_id, aggregate_version, data::text,
       traceparent, occurred_at
  FROM told
UNION ALL
(SELECT feed_xid, position, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        CASE WHEN (SELECT count(*) FROM scanned) = %(scanned_max)s THEN now() END
   FROM scanned ORDER BY feed_xid DESC, position DESC LIMIT 1)
"""

MEASURE_HELD_BACK = """
SELECT count(*), coalesce(extract(epoch FROM now() - min(occurred_at)), 0)
  FROM (SELECT occurred_at FROM events_event
         WHERE feed_xid >= pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                           + (SELECT last_value FROM events_feed_offset)
         ORDER BY feed_xid, position
         LIMIT %s) AS held
"""

# Another server counts its transactions from elsewhere. What is restored there must be past the
# gate, and what is new must come after every cursor: also after those of readers who have seen what
# came after the backup, hence the step.
RAISE_OFFSET = """
SELECT setval('events_feed_offset',
              greatest(last_value, (SELECT max(feed_xid) FROM events_event)) + 1000000000000)
  FROM events_feed_offset
"""

STATEMENTS = (SCAN_FEED, MEASURE_HELD_BACK)


@dataclass(frozen=True, slots=True)
class Scan:
    """Events found, how far was looked (None: nothing is there), and whether more may be."""

    events: tuple[StoredEvent, ...]
    reached: tuple[int, int] | None
    has_more: bool


def scan_feed(
    place: tuple[int, int],
    *,
    audience: Audience,
    types: Sequence[str],
    limit: int,
    scanned_max: int,
) -> Scan:
    """Return at most limit events after a place, in the feed's order, that an audience may see."""
    rows = (
        hot_cursor()
        .execute(
            SCAN_FEED,
            {
                "xid": place[0],
                "position": place[1],
                "scanned_max": scanned_max,
                "account_id": audience.account_id,
                "sees_shared": audience.sees_shared,
                "sees_all": audience.sees_all,
                "types": list(types),
                "limit": limit,
            },
        )
        .fetchall()
    )
    if not rows:
        return Scan((), None, has_more=False)
    *told, last = rows
    events = tuple(StoredEvent(*row[2:]) for row in told[:limit])
    if len(told) > limit:
        return Scan(events, told[limit - 1][:2], has_more=True)
    return Scan(events, last[:2], has_more=last[-1] is not None)


def measure_held_back() -> tuple[int, float]:
    """Return how many committed events the gate holds back, and the age of the oldest in s."""
    rows = hot_cursor().execute(MEASURE_HELD_BACK, (HELD_BACK_COUNTED_MAX,)).fetchall()
    ((count, age_s),) = rows
    return int(count), max(0.0, float(age_s))


def raise_offset() -> None:
    """Let the feed go on after all that it has, and after what was lost of it."""
    hot_cursor().execute(RAISE_OFFSET)

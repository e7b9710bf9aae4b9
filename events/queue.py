"""
Every statement of the relay.

Each is one statement in a transaction of its own: a relay that is stopped in the middle of its
work, by a signal or by a machine, holds no lock and no transaction that others would wait for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from events.durable import document, hot_cursor
from events.envelope import StoredEvent

RELAY_NAME = "sluice-relay"
FAN_OUT_LOCK = 0x51_01CE_0E7B

# One at a time, so that no second relay takes up an event while the one before it is still being
# taken up elsewhere. An event that must wait for an earlier one of its aggregate is due with it.
# From both ends: what happens now is not to wait until a backlog has been taken up. From the new
# one only first events of their aggregates, which none that is still in the outbox must precede.
# A backlog is due a little earlier than now, or it would come before what happened a moment ago
# where the newest is taken first; not more, or a relay would not look there (OVERLAP).
FAN_OUT = """
WITH mine AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(%(lock)s) AS is_mine
), oldest AS MATERIALIZED (
    SELECT position FROM events_outbox
     WHERE (SELECT is_mine FROM mine) ORDER BY position LIMIT %(limit)s
), newest AS MATERIALIZED (
    SELECT position, event_id FROM events_outbox
     WHERE (SELECT is_mine FROM mine) ORDER BY position DESC LIMIT %(limit)s
), taken AS (
    DELETE FROM events_outbox
     WHERE position IN (SELECT position FROM oldest
                         UNION
                        SELECT n.position FROM newest n
                         WHERE 1 = (SELECT e.aggregate_version FROM events_event e
                                     WHERE e.id = n.event_id))
    RETURNING event_id
), receivers AS MATERIALIZED (
    SELECT lane_id, account_id, sees_shared, sees_all, types
      FROM events_endpoint WHERE is_enabled
    UNION ALL
    SELECT id, -1, true, true, '{}' FROM events_lane WHERE sink IS NOT NULL
), added AS (
    INSERT INTO events_delivery
           (lane_id, event_id, position, aggregate, state, attempts, due_at, created_at,
            error, answer)
    SELECT r.lane_id, e.id, e.position, digest.aggregate, 'pending', 0,
           greatest(least(e.occurred_at, now()), now() - interval '20 s', earlier.due_at),
           now(), '', ''
      FROM taken
      JOIN events_event e ON e.id = taken.event_id
      JOIN receivers r
        ON (r.account_id = e.account_id OR (e.account_id IS NULL AND r.sees_shared)
            OR (e.account_id IS NOT NULL AND r.sees_all))
       AND (r.types = '{}' OR e.type = ANY(r.types)
            OR split_part(e.type, '.', 1) || '.*' = ANY(r.types))
     CROSS JOIN LATERAL (
           SELECT hashtextextended(e.aggregate_type || '/' || e.aggregate_id, 0) AS aggregate
         ) AS digest
      LEFT JOIN LATERAL (
           SELECT max(b.due_at) AS due_at
             FROM (SELECT d.due_at FROM events_delivery d
                    WHERE e.aggregate_version > 1 AND d.lane_id = r.lane_id
                      AND d.aggregate = digest.aggregate AND d.state = 'pending'
                    ORDER BY d.position) AS b
         ) AS earlier ON true
     ORDER BY e.position
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM added)
"""

# A lane is free when nobody has it, when its lease is over, or when the session that took it is
# gone: the server knows of a killed process at once, a stopped one has to run out of time.
TAKE_LANES = """
WITH free AS (
    SELECT l.id
      FROM events_lane l
      LEFT JOIN events_endpoint e ON e.lane_id = l.id
     WHERE (l.sink = ANY(%(sinks)s) OR e.is_enabled)
       AND (l.holder IS NULL OR l.lease_until < now()
            OR NOT EXISTS (SELECT FROM pg_stat_activity a
                            WHERE a.pid = l.holder_pid AND a.backend_start = l.holder_since))
     ORDER BY l.lease_until NULLS FIRST
     LIMIT %(limit)s
       FOR UPDATE OF l SKIP LOCKED
)
UPDATE events_lane l
   SET holder = %(me)s, holder_pid = a.pid, holder_since = a.backend_start,
       token = l.token + 1, lease_until = now() + %(lease_s)s * interval '1 second'
  FROM free, pg_stat_activity a
 WHERE l.id = free.id AND a.pid = pg_backend_pid()
RETURNING l.id
"""

HOLD_LANES = """
WITH held AS (
    UPDATE events_lane
       SET lease_until = now() + %(lease_s)s * interval '1 second',
           holder_pid = a.pid, holder_since = a.backend_start
      FROM pg_stat_activity a
     WHERE holder = %(me)s AND a.pid = pg_backend_pid()
    RETURNING id, token, sink, failures_in_row,
              greatest(extract(epoch FROM paused_until - now()), 0)::float8 AS rest_s
)
SELECT held.id, held.token, held.sink, held.failures_in_row, coalesce(held.rest_s, 0),
       e.id, e.url, e.sealed_secret,
       CASE WHEN e.former_secret_until > now() THEN e.sealed_former_secret ELSE '' END,
       coalesce(e.is_enabled, held.sink = ANY(%(sinks)s))
  FROM held LEFT JOIN events_endpoint e ON e.lane_id = held.id
"""

COUNT_LANES = """
SELECT (SELECT count(*) FROM events_lane l LEFT JOIN events_endpoint e ON e.lane_id = l.id
         WHERE l.sink = ANY(%(sinks)s) OR e.is_enabled),
       (SELECT count(*) FROM pg_stat_activity
         WHERE application_name = %(name)s AND datname = current_database())
"""

RELEASE_LANES = """
UPDATE events_lane SET holder = NULL, lease_until = now() WHERE holder = %s AND id = ANY(%s)
"""

# From both ends of what is due: the oldest, and the newest, so that a backlog delays nothing that
# happens now. A delivery is left where it is as long as an earlier one of its aggregate is neither
# at hand already nor taken with it. Each is looked up by itself, which LIMIT sees to: as a join,
# planned while the queue was empty, it compared each with all that wait.
LOAD_DUE = """
SELECT l.lane_id, d.*
  FROM jsonb_to_recordset(%s::jsonb)
    AS l(lane_id bigint, size int, held bigint[], since timestamptz)
 CROSS JOIN LATERAL (
    WITH oldest AS MATERIALIZED (
        SELECT id, event_id, position, aggregate, attempts, due_at
          FROM events_delivery
         WHERE lane_id = l.lane_id AND state = 'pending' AND due_at <= now()
           AND due_at >= l.since AND id <> ALL(l.held)
         ORDER BY due_at, position
         LIMIT l.size
    ), newest AS MATERIALIZED (
        SELECT id, event_id, position, aggregate, attempts, due_at
          FROM events_delivery
         WHERE lane_id = l.lane_id AND state = 'pending' AND due_at <= now()
           AND due_at >= l.since AND id <> ALL(l.held)
         ORDER BY due_at DESC, position DESC
         LIMIT l.size
    ), due AS MATERIALIZED (
        SELECT oldest.*, false AS is_fresh FROM oldest
        UNION ALL
        SELECT newest.*, true FROM newest WHERE id NOT IN (SELECT id FROM oldest)
    )
    SELECT due.id, due.position, due.aggregate, due.attempts, due.due_at, due.is_fresh,
           e.id AS event_id, e.type, e.aggregate_type, e.aggregate_id, e.aggregate_version,
           e.data::text, e.traceparent, e.occurred_at
      FROM due JOIN events_event e ON e.id = due.event_id
      LEFT JOIN LATERAL (
           SELECT true AS is_there FROM events_delivery b
            WHERE b.lane_id = l.lane_id AND b.aggregate = due.aggregate AND b.state = 'pending'
              AND b.position < due.position AND b.id <> ALL(l.held)
              AND b.id NOT IN (SELECT id FROM due)
            ORDER BY b.position LIMIT 1
         ) AS earlier ON true
     WHERE earlier.is_there IS NULL
     ORDER BY due.position
 ) AS d
"""

# A success is a fact, whoever tells it. A failure counts only from the relay that has the lane: a
# relay that slept through its lease must not undo what was done since. What comes after a failed
# one in its aggregate waits with it.
SETTLE = """
WITH told AS (
    SELECT * FROM jsonb_to_recordset(%(outcomes)s::jsonb)
        AS r(id bigint, lane_id bigint, token bigint, state text, delay_s float8, status smallint,
             error text, answer text, duration_ms int)
), settled AS (
    UPDATE events_delivery d
       SET state = told.state, attempts = d.attempts + 1, attempted_at = now(),
           due_at = now() + told.delay_s * interval '1 second', status = told.status,
           error = told.error, answer = told.answer, duration_ms = told.duration_ms
      FROM told JOIN events_lane l ON l.id = told.lane_id
     WHERE d.id = told.id AND d.state = 'pending'
       AND (told.state = 'delivered' OR l.token = told.token)
    RETURNING d.lane_id, d.aggregate, d.position, d.state, d.due_at
), postponed AS (
    UPDATE events_delivery d SET due_at = s.due_at
      FROM settled s
     WHERE s.state = 'pending' AND d.lane_id = s.lane_id AND d.aggregate = s.aggregate
       AND d.state = 'pending' AND d.position > s.position AND d.due_at < s.due_at
)
UPDATE events_lane l
   SET failures_in_row = r.failures_in_row,
       failing_since = CASE WHEN r.failures_in_row > 0 THEN coalesce(l.failing_since, now()) END,
       paused_until = CASE WHEN r.rest_s > 0 THEN now() + r.rest_s * interval '1 second' END
  FROM jsonb_to_recordset(%(lanes)s::jsonb)
    AS r(id bigint, token bigint, failures_in_row int, rest_s float8)
 WHERE l.id = r.id AND l.token = r.token
"""

DROP_SENT = "DELETE FROM events_delivery WHERE id = ANY(%s)"

OPEN_SINKS = """
INSERT INTO events_lane (sink, token, failures_in_row)
SELECT name, 0, 0 FROM unnest(%s::text[]) AS name
ON CONFLICT (sink) DO NOTHING
"""

MEASURE_LANES = """
SELECT coalesce(e.id::text, l.sink),
       (SELECT count(*) FROM (SELECT FROM events_delivery d
                               WHERE d.lane_id = l.id AND d.state = 'pending'
                               LIMIT 10000) AS counted),
       coalesce((SELECT extract(epoch FROM now() - d.created_at)::float8
                   FROM events_delivery d
                  WHERE d.lane_id = l.id AND d.state = 'pending'
                  ORDER BY d.due_at LIMIT 1), 0),
       coalesce(l.paused_until > now(), false)
  FROM events_lane l LEFT JOIN events_endpoint e ON e.lane_id = l.id
 WHERE l.sink IS NOT NULL OR e.is_enabled
"""

STATEMENTS = (
    FAN_OUT, TAKE_LANES, HOLD_LANES, COUNT_LANES, RELEASE_LANES, LOAD_DUE, SETTLE, DROP_SENT,
    OPEN_SINKS, MEASURE_LANES,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HeldLane:
    """A lane that this relay has, as it stands; the endpoint's members are None for a sink."""

    id: int
    token: int
    sink: str | None
    failures_in_row: int
    rest_s: float
    endpoint_id: UUID | None
    url: str | None
    sealed_secret: str | None
    sealed_former_secret: str | None
    is_wanted: bool


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery to make now. is_fresh: it was taken from the new end."""

    id: int
    position: int
    aggregate: int
    attempts: int
    due_at: datetime
    is_fresh: bool
    event: StoredEvent


def open_session(*, statement_timeout_s: int) -> None:
    """Give the session the name by which relays count each other, and bounds."""
    hot_cursor().execute(
        "SELECT set_config('application_name', %s, false),"
        " set_config('statement_timeout', %s, false), set_config('lock_timeout', '5s', false),"
        # A statement that is prepared while a queue is empty is planned for an empty table, and
        # reads all of it once it is full, until the server's statistics notice.
        " set_config('enable_seqscan', 'off', false)",
        (RELAY_NAME, f"{statement_timeout_s}s"),
    )


def fan_out(*, limit: int) -> tuple[int, int]:
    """
    Turn events of the outbox into deliveries, at most limit from each end; return how many of each.

    Nothing is taken while another relay does the same.
    """
    found = hot_cursor().execute(FAN_OUT, {"lock": FAN_OUT_LOCK, "limit": limit}).fetchall()
    ((taken, added),) = found
    return int(taken), int(added)


def take_lanes(me: UUID, *, sinks: Sequence[str], limit: int, lease_s: float) -> int:
    """Take at most limit free lanes; return how many were had."""
    return len(
        hot_cursor()
        .execute(TAKE_LANES, {"me": me, "sinks": list(sinks), "limit": limit, "lease_s": lease_s})
        .fetchall()
    )


def hold_lanes(me: UUID, *, sinks: Sequence[str], lease_s: float) -> list[HeldLane]:
    """Prolong the leases of all lanes that this relay still has, and return those."""
    rows = hot_cursor().execute(HOLD_LANES, {"me": me, "sinks": list(sinks), "lease_s": lease_s})
    return [HeldLane(*row) for row in rows.fetchall()]


def count_lanes(*, sinks: Sequence[str]) -> tuple[int, int]:
    """Return how many lanes are to be served, and how many relays have a session."""
    found = hot_cursor().execute(COUNT_LANES, {"sinks": list(sinks), "name": RELAY_NAME})
    ((lanes, relays),) = found.fetchall()
    return int(lanes), int(relays)


def release_lanes(me: UUID, lane_ids: Sequence[int]) -> None:
    """Let other relays have lanes."""
    hot_cursor().execute(RELEASE_LANES, (me, list(lane_ids)))


def load_due(asked: Sequence[Mapping[str, Any]]) -> dict[int, list[Due]]:
    """
    Return what is due by lane, in the order of position, for each {lane_id, size, held, since}.

    At most size from the old end and as many from the new; held: ids that the relay has already;
    since: nothing is looked for that was due before.
    """
    due: dict[int, list[Due]] = {}
    for row in hot_cursor().execute(LOAD_DUE, (document([dict(one) for one in asked]),)).fetchall():
        due.setdefault(row[0], []).append(_due(row))
    return due


def _due(row: Sequence[Any]) -> Due:
    _, delivery_id, position, aggregate, attempts, due_at, is_fresh, *event = row
    return Due(delivery_id, position, aggregate, attempts, due_at, is_fresh, StoredEvent(*event))


def settle(outcomes: Sequence[dict[str, Any]], lanes: Sequence[dict[str, Any]]) -> None:
    """Write how attempts ended, and how their lanes stand."""
    hot_cursor().execute(SETTLE, {"outcomes": document(outcomes), "lanes": document(lanes)})


def drop_sent(delivery_ids: Sequence[int]) -> None:
    """Forget what a sink has taken: the sink is the log."""
    hot_cursor().execute(DROP_SENT, (list(delivery_ids),))


def open_sinks(names: Sequence[str]) -> None:
    """Make the lanes of sinks that have none yet; from then on events are kept for them."""
    hot_cursor().execute(OPEN_SINKS, (list(names),))


def measure_lanes() -> list[tuple[str, int, float, bool]]:
    """
    Return what waits in each lane.

    The lane's name, its pending deliveries (10,000 for more), the age in s of the next one, and
    whether the lane rests.
    """
    rows = hot_cursor().execute(MEASURE_LANES).fetchall()
    return [(str(name), int(count), float(age), bool(rests)) for name, count, age, rests in rows]

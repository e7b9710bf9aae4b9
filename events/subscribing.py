"""Queries of endpoints and their deliveries. All of it joins the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet
from uuid_utils.compat import uuid7

from events.durable import hot_cursor
from events.errors import EndpointNotFound
from events.models import Delivery, Endpoint, Event, Lane
from events.rules import Audience

# A version above every one so far, under a lock: two pings of one endpoint come one after another.
ADD_PING = """
WITH last AS (
    SELECT coalesce(max(aggregate_version), 0) AS version FROM events_event
     WHERE aggregate_type = 'webhook' AND aggregate_id = %(aggregate_id)s
), written AS (
    INSERT INTO events_event
           (id, type, aggregate_type, aggregate_id, aggregate_version, data, traceparent,
            occurred_at, account_id)
    SELECT %(id)s, %(type)s, 'webhook', %(aggregate_id)s, last.version + 1, %(data)s::jsonb, '',
           %(at)s, %(account_id)s
      FROM last
    RETURNING id, position
)
INSERT INTO events_delivery
       (lane_id, event_id, position, aggregate, state, attempts, due_at, created_at, error, answer)
SELECT %(lane_id)s, id, position, hashtextextended('webhook/' || %(aggregate_id)s, 0), 'pending', 0,
       now(), now(), '', ''
  FROM written
"""

# Ids are UUIDv7 and begin with the time: a range of time is a range of the primary key.
REPLAY_RANGE = """
WITH chosen AS MATERIALIZED (
    SELECT e.id, e.position, e.aggregate_type, e.aggregate_id
      FROM events_event e
     WHERE e.id >= %(first)s AND e.id < %(last)s
       AND (%(account_id)s = e.account_id OR (e.account_id IS NULL AND %(sees_shared)s)
            OR (e.account_id IS NOT NULL AND %(sees_all)s))
       AND (%(types)s::text[] = '{}' OR e.type = ANY(%(types)s)
            OR split_part(e.type, '.', 1) || '.*' = ANY(%(types)s))
       AND e.aggregate_type <> 'webhook'
     ORDER BY e.id
     LIMIT %(limit)s
), again AS (
    INSERT INTO events_delivery AS d
           (lane_id, event_id, position, aggregate, state, attempts, due_at, created_at,
            error, answer)
    SELECT %(lane_id)s, id, position, hashtextextended(aggregate_type || '/' || aggregate_id, 0),
           'pending', 0, now(), now(), '', ''
      FROM chosen ORDER BY position
    ON CONFLICT (lane_id, event_id) DO UPDATE
       SET state = 'pending', attempts = 0, due_at = now()
     WHERE d.state <> 'pending'
    RETURNING 1
)
SELECT (SELECT count(*) FROM again), (SELECT count(*) FROM chosen),
       (SELECT id FROM chosen ORDER BY id DESC LIMIT 1)
"""

REPLAY_DEAD = """
UPDATE events_delivery SET state = 'pending', attempts = 0, due_at = now()
 WHERE id IN (SELECT id FROM events_delivery WHERE lane_id = %s AND state = 'dead'
               ORDER BY id LIMIT %s)
   AND state = 'dead'
"""

REPLAY_ONE = """
UPDATE events_delivery SET state = 'pending', attempts = 0, due_at = now()
 WHERE id = %s AND state <> 'pending'
"""

# Whoever has the lane now remembers the failures: it loses it, and the next one begins anew.
FORGET_FAILURES = """
UPDATE events_lane
   SET failures_in_row = 0, failing_since = NULL, paused_until = NULL, holder = NULL,
       token = token + 1
 WHERE id = %s
"""

# Ordered, so that two relays that look at the same moment do not wait for each other crosswise.
FIND_FAILING = """
SELECT e.id FROM events_endpoint e JOIN events_lane l ON l.id = e.lane_id
 WHERE e.is_enabled AND l.failing_since < now() - %s * interval '1 day'
 ORDER BY e.id
"""

STATEMENTS = (ADD_PING, REPLAY_RANGE, REPLAY_DEAD, REPLAY_ONE, FORGET_FAILURES, FIND_FAILING)


def list_endpoints(account_id: int) -> QuerySet[Endpoint]:
    """Return an account's endpoints, oldest first; deleted ones are not among them."""
    return (
        Endpoint.objects.filter(account_id=account_id)
        .exclude(disabled_reason=Endpoint.Disabled.DELETED)
        .select_related("lane")
        .order_by("id")
    )


def get_endpoint(endpoint_id: UUID, *, account_id: int) -> Endpoint:
    """Return an endpoint of an account; raises EndpointNotFound."""
    endpoint = list_endpoints(account_id).filter(pk=endpoint_id).first()
    if endpoint is None:
        raise EndpointNotFound
    return endpoint


def lock_endpoint(endpoint_id: UUID, *, account_id: int | None) -> Endpoint:
    """Return a locked endpoint, account_id None: anybody's; raises EndpointNotFound."""
    endpoints = (
        Endpoint.objects.select_for_update(of=("self",))
        .exclude(disabled_reason=Endpoint.Disabled.DELETED)
        .select_related("lane")
    )
    if account_id is not None:
        endpoints = endpoints.filter(account_id=account_id)
    endpoint = endpoints.filter(pk=endpoint_id).first()
    if endpoint is None:
        raise EndpointNotFound
    return endpoint


def add_endpoint(
    audience: Audience,
    *,
    url: str,
    types: Sequence[str],
    description: str,
    sealed_secret: str,
    now: datetime,
) -> Endpoint:
    """Write a new endpoint and its lane."""
    return Endpoint.objects.create(
        id=uuid7(),
        lane=Lane.objects.create(),
        account_id=audience.account_id,
        sees_shared=audience.sees_shared,
        sees_all=audience.sees_all,
        url=url,
        types=list(types),
        description=description,
        sealed_secret=sealed_secret,
        created_at=now,
        updated_at=now,
    )


def list_failing(*, days: int) -> list[UUID]:
    """Return the enabled endpoints that have taken nothing for so many days, by id."""
    return [row[0] for row in hot_cursor().execute(FIND_FAILING, (days,)).fetchall()]


def forget_failures(lane_id: int) -> None:
    """Let a lane begin anew."""
    hot_cursor().execute(FORGET_FAILURES, (lane_id,))


def add_ping(endpoint: Endpoint, *, event_type: str, data: str, now: datetime) -> UUID:
    """Write an event that goes to one endpoint alone, which must be locked; return its id."""
    event_id = uuid7()
    hot_cursor().execute(
        ADD_PING,
        {
            "id": event_id,
            "type": event_type,
            "aggregate_id": str(endpoint.pk),
            "data": data,
            "at": now,
            "account_id": endpoint.account_id,
            "lane_id": endpoint.lane_id,
        },
    )
    return event_id


def next_version(aggregate_id: str) -> int:
    """Return the version of the next event of an endpoint, which must be locked."""
    last = (
        Event.objects.filter(aggregate_type="webhook", aggregate_id=aggregate_id)
        .order_by("-aggregate_version")
        .values_list("aggregate_version", flat=True)
        .first()
    )
    return (last or 0) + 1


def list_deliveries(
    lane_id: int, *, state: str = "", before_id: int | None = None
) -> QuerySet[Delivery]:
    """Return what went, goes or failed to go through a lane, newest first."""
    deliveries = Delivery.objects.filter(lane_id=lane_id).order_by("-id")
    if state:
        deliveries = deliveries.filter(state=state)
    return deliveries if before_id is None else deliveries.filter(id__lt=before_id)


def find_events(event_ids: Sequence[UUID]) -> dict[UUID, Event]:
    """Return events by id."""
    return Event.objects.in_bulk(event_ids)


def replay_range(
    endpoint: Endpoint, *, first: UUID, last: UUID, limit: int
) -> tuple[int, int, UUID | None]:
    """
    Deliver again what an endpoint asks for and was recorded in a range of ids, last excluded.

    Returns how many deliveries are due again, how many events were looked at, and the last of
    those. What is pending already stays as it is.
    """
    found = hot_cursor().execute(
        REPLAY_RANGE,
        {
            "first": first,
            "last": last,
            "account_id": endpoint.account_id,
            "sees_shared": endpoint.sees_shared,
            "sees_all": endpoint.sees_all,
            "types": endpoint.types,
            "lane_id": endpoint.lane_id,
            "limit": limit,
        },
    )
    ((again, chosen, reached),) = found.fetchall()
    return int(again), int(chosen), reached


def replay_dead(lane_id: int, *, limit: int) -> int:
    """Deliver at most limit dead letters of a lane again, oldest first; return how many."""
    return hot_cursor().execute(REPLAY_DEAD, (lane_id, limit)).rowcount


def find_lane_endpoint(delivery_id: int) -> UUID | None:
    """Return the endpoint that a delivery goes to; None when it goes to none, or is not there."""
    lanes = Delivery.objects.filter(pk=delivery_id).values("lane")
    return Endpoint.objects.filter(lane__in=lanes).values_list("pk", flat=True).first()


def replay_one(delivery_id: int) -> bool:
    """Deliver one event again; return False when it is on its way already."""
    return hot_cursor().execute(REPLAY_ONE, (delivery_id,)).rowcount == 1

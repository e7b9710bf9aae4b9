"""Every query on events and keys. All of it joins the caller's transaction."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from django.db import connection, transaction
from django.db.models import QuerySet
from uuid_utils import uuid7

from events.durable import document, hot_cursor
from events.models import Event
from events.rules import Answer, KeyedRequest, NewEvent, lock_number
from events.tracing import current_traceparent

# Who has the lock is alone with the key until its transaction has ended, and nobody ever waits.
LOCK_KEYS = """
SELECT n, pg_try_advisory_xact_lock(lock)
  FROM jsonb_to_recordset(%s::jsonb) AS r(n int, lock bigint)
"""

# A statement of its own, after the one above: it sees what was committed by whoever had the lock
# before. For each key by its index, as OFFSET has it, and not by a join that may read them all.
FIND_ANSWERS = """
SELECT r.n, k.fingerprint, k.status, k.body, k.etag, k.location
  FROM jsonb_to_recordset(%s::jsonb) AS r(n int, account_id bigint, key text),
       LATERAL (SELECT * FROM events_idempotencykey k
                 WHERE k.account_id = r.account_id AND k.key = r.key OFFSET 0) AS k
"""

# No ON CONFLICT: the index is the last wall, should the lock have failed. The time is the
# database's: housekeeping compares it, and an import says that it is 2011.
KEEP_ANSWERS = """
INSERT INTO events_idempotencykey
       (account_id, key, fingerprint, status, body, etag, location, created_at)
SELECT account_id, key, decode(fingerprint, 'hex'), status, body, etag, location, now()
  FROM jsonb_to_recordset(%s::jsonb)
    AS r(account_id bigint, key text, fingerprint text, status smallint, body text, etag text,
         location text)
"""

# An event is written once and put into the outbox in the same statement. The event before it is
# looked up by its index, and not at all for a first version: that is what placing an order writes.
ADD_EVENTS = """
WITH written AS (
    INSERT INTO events_event
           (id, type, aggregate_type, aggregate_id, aggregate_version, data, traceparent,
            occurred_at, account_id, feed_xid)
    SELECT r.id, r.type, r.aggregate_type, r.aggregate_id, r.aggregate_version, r.data,
           r.traceparent, r.at, r.account_id,
           greatest(pg_current_xact_id()::text::bigint
                    + (SELECT last_value FROM events_feed_offset), earlier.feed_xid)
      FROM jsonb_to_recordset(%s::jsonb)
        AS r(id uuid, type text, aggregate_type text, aggregate_id text, aggregate_version bigint,
             data jsonb, traceparent text, at timestamptz, account_id bigint)
      LEFT JOIN LATERAL (
            SELECT e.feed_xid FROM events_event e
             WHERE r.aggregate_version > 1 AND e.aggregate_type = r.aggregate_type
               AND e.aggregate_id = r.aggregate_id AND e.aggregate_version < r.aggregate_version
             ORDER BY e.aggregate_version DESC LIMIT 1) AS earlier ON true
    RETURNING position, id
)
INSERT INTO events_outbox (position, event_id) SELECT position, id FROM written
"""

# No index leads to an answer by what it says: all are read, and seldom.
FIND_ANSWERS_BEGINNING = """
SELECT account_id, key, body FROM events_idempotencykey
 WHERE status < 400 AND left(body, %s) = ANY(%s)
"""

REWRITE_ANSWERS = """
UPDATE events_idempotencykey k SET body = r.body
  FROM jsonb_to_recordset(%s::jsonb) AS r(account_id bigint, key text, body text)
 WHERE k.account_id = r.account_id AND k.key = r.key
"""

REWRITE_EVENTS = """
UPDATE events_event e SET data = r.data
  FROM jsonb_to_recordset(%s::jsonb) AS r(id uuid, data jsonb)
 WHERE e.id = r.id
"""

# What a receiver answered may repeat what it was told. By lane, for there is no index by event.
FORGET_RECEIVERS_ANSWERS = """
UPDATE events_delivery d SET answer = ''
  FROM events_event e, events_lane l
 WHERE e.aggregate_type = %s AND e.aggregate_id = ANY(%s)
   AND d.lane_id = l.id AND d.event_id = e.id AND d.answer <> ''
"""

# Statements that the server prepares; a test prepares each against the migrated schema.
HOT_STATEMENTS = (
    LOCK_KEYS,
    FIND_ANSWERS,
    KEEP_ANSWERS,
    ADD_EVENTS,
    FIND_ANSWERS_BEGINNING,
    REWRITE_ANSWERS,
    REWRITE_EVENTS,
    FORGET_RECEIVERS_ANSWERS,
)


# Whether a key is free for whoever asked, and the fingerprint and the answer it has.
Claim = tuple[bool, tuple[bytes, Answer] | None]


@contextmanager
def savepoint() -> Iterator[Callable[[], None]]:
    """Run a block whose writes can be undone; yields the function that undoes them."""
    point = transaction.savepoint()
    yield partial(transaction.savepoint_rollback, point)
    transaction.savepoint_commit(point)


# Cheap also when no relay has run for a week: nobody needs to know more than "many".
MEASURE_OUTBOX = """
SELECT (SELECT count(*) FROM (SELECT FROM events_outbox LIMIT 10000) AS waiting),
       coalesce((SELECT extract(epoch FROM clock_timestamp() - e.occurred_at)
                   FROM events_outbox o JOIN events_event e ON e.id = o.event_id
                  ORDER BY o.position LIMIT 1), 0)
"""


def ask_keys(requests: Sequence[KeyedRequest]) -> Callable[[], list[Claim]]:
    """
    Lock each key and look for its answer; return what tells of each when the answers have come.

    The keys must be distinct. A key that is not free is held by a transaction under way. Nothing is
    read before, so it joins a pipeline.
    """
    locks = [
        {"n": n, "lock": lock_number(request.account_id, request.key)}
        for n, request in enumerate(requests)
    ]
    keys = [{"n": n, "account_id": r.account_id, "key": r.key} for n, r in enumerate(requests)]
    locked = hot_cursor().execute(LOCK_KEYS, (document(locks),))
    answered = hot_cursor().execute(FIND_ANSWERS, (document(keys),))

    def read() -> list[Claim]:
        is_free = dict(locked.fetchall())
        found = {
            n: (bytes(fingerprint), Answer(*answer))
            for n, fingerprint, *answer in answered.fetchall()
        }
        return [(is_free[n], found.get(n)) for n in range(len(requests))]

    return read


def keep_answers(answers: Sequence[tuple[KeyedRequest, Answer]]) -> None:
    """Write the answers of claimed keys."""
    rows = [
        {
            "account_id": request.account_id,
            "key": request.key,
            "fingerprint": request.fingerprint.hex(),
            "status": answer.status,
            "body": answer.body,
            "etag": answer.etag,
            "location": answer.location,
        }
        for request, answer in answers
    ]
    hot_cursor().execute(KEEP_ANSWERS, (document(rows),))


def add_events(events: Sequence[NewEvent]) -> None:
    """
    Write events, in the order given, for the relay to take up.

    Those that name no cause are of the current span.
    """
    here = current_traceparent()
    rows = [
        {
            "id": str(uuid7()),
            "type": event.type,
            "aggregate_type": event.aggregate_type,
            "aggregate_id": event.aggregate_id,
            "aggregate_version": event.aggregate_version,
            "data": event.data,
            "traceparent": event.traceparent or here,
            "at": event.at,
            "account_id": event.account_id,
        }
        for event in events
    ]
    hot_cursor().execute(ADD_EVENTS, (document(rows),))


def list_events(aggregate_type: str, aggregate_id: str) -> QuerySet[Event]:
    """Return an aggregate's events, first to last."""
    return Event.objects.filter(aggregate_type=aggregate_type, aggregate_id=aggregate_id).order_by(
        "aggregate_version"
    )


def list_events_of(aggregate_type: str, aggregate_ids: Sequence[str]) -> QuerySet[Event]:
    """Return the events of aggregates, in no order."""
    return Event.objects.filter(aggregate_type=aggregate_type, aggregate_id__in=aggregate_ids)


def find_answers_beginning(beginnings: Sequence[str]) -> list[tuple[int, str, str]]:
    """Return account, key and body of the accepted answers that begin so; all of one length."""
    if not beginnings:
        return []
    asked = (len(beginnings[0]), list(beginnings))
    return hot_cursor().execute(FIND_ANSWERS_BEGINNING, asked).fetchall()


def rewrite_answers(answers: Sequence[tuple[int, str, str]]) -> None:
    """Give keys other bodies; account, key and body each."""
    rows = [{"account_id": account, "key": key, "body": body} for account, key, body in answers]
    hot_cursor().execute(REWRITE_ANSWERS, (document(rows),))


def rewrite_events(events: Sequence[Event]) -> None:
    """Write what events tell."""
    rows = [{"id": event.pk, "data": event.data} for event in events]
    hot_cursor().execute(REWRITE_EVENTS, (document(rows),))


def forget_receivers_answers(aggregate_type: str, aggregate_ids: Sequence[str]) -> None:
    """Forget what receivers answered to the events of aggregates."""
    hot_cursor().execute(FORGET_RECEIVERS_ANSWERS, (aggregate_type, list(aggregate_ids)))


def measure_outbox() -> tuple[int, float]:
    """Return how many events wait for a relay, 10,000 for more, and how old the oldest is, in s."""
    with connection.cursor() as cursor:
        cursor.execute(MEASURE_OUTBOX)
        depth, age_s = cursor.fetchone()
    return depth, float(age_s)

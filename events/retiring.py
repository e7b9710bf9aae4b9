"""Taking a sink away for good."""

from django.conf import settings
from django.db import transaction

from events.durable import hot_cursor
from events.queue import FAN_OUT_LOCK

DELETED_AT_ONCE = 10_000

DROP_WAITING = """
DELETE FROM events_delivery
 WHERE id IN (SELECT d.id FROM events_delivery d JOIN events_lane l ON l.id = d.lane_id
               WHERE l.sink = %s LIMIT %s)
"""
DROP_LANE = "DELETE FROM events_lane WHERE sink = %s"


class SinkNotRetired(Exception):
    """A sink that settings still name, or that nobody knows."""


def retire_sink(name: str) -> int:
    """
    Forget a sink; return how many events waited for it.

    Raises SinkNotRetired. May be asked again when it was stopped in the middle.
    """
    if name in settings.EVENTS_SINKS:
        raise SinkNotRetired(f"{name} is in the settings: take it out and restart every relay.")
    dropped = 0
    while some := hot_cursor().execute(DROP_WAITING, (name, DELETED_AT_ONCE)).rowcount:
        dropped += some
    with transaction.atomic():
        # No relay is just handing out more to the lane that goes.
        hot_cursor().execute("SELECT pg_advisory_xact_lock(%s)", (FAN_OUT_LOCK,))
        dropped += hot_cursor().execute(DROP_WAITING, (name, None)).rowcount
        if not hot_cursor().execute(DROP_LANE, (name,)).rowcount:
            raise SinkNotRetired(f"There is no sink {name}.")
    return dropped

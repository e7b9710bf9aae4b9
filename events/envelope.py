"""What an event looks like outside: CloudEvents 1.0 in JSON."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import orjson

MEDIA_TYPE = "application/cloudevents+json"


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it was committed. data: the text of a JSON object, which nobody parses again."""

    id: UUID
    type: str
    aggregate_type: str
    aggregate_id: str
    aggregate_version: int
    data: str
    traceparent: str
    occurred_at: datetime

    @property
    def subject(self) -> str:
        """What the event is about: `order/0197f0a1-…`."""
        return f"{self.aggregate_type}/{self.aggregate_id}"


def compose(event: StoredEvent, *, source: str) -> bytes:
    """
    Return the envelope of an event: the same bytes whenever it is asked for.

    All that may vary was frozen at commit, but for what the erasure of a person takes out of data;
    source is the installation's and never changes.
    aggregateversion is an extension: it rises with every event of a subject.
    """
    at = event.occurred_at.astimezone(UTC).isoformat(timespec="microseconds")
    envelope = {
        "specversion": "1.0",
        "id": str(event.id),
        "source": source,
        "type": event.type,
        "subject": event.subject,
        "time": at.replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "aggregateversion": event.aggregate_version,
        "data": orjson.Fragment(event.data),
    }
    if event.traceparent:
        envelope["traceparent"] = event.traceparent
    return orjson.dumps(envelope)

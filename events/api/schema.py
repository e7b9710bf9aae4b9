"""What the schema tells of events besides what the views do."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from pydantic import BaseModel

from events.api.serializers import FeedOut, FeedQuery

ENVELOPE = {
    "specversion": "1.0",
    "id": "0197f0a1-7c3e-7d52-9f6b-2b1f0f4c8a12",
    "source": "https://orders.example.com",
    "type": "order.placed",
    "subject": "order/0197f0a1-7c3e-7d52-9f6b-2b1f0f4c8a11",
    "time": "2026-05-04T12:00:00.000000Z",
    "datacontenttype": "application/json",
    "aggregateversion": 1,
    "data": {"id": "0197f0a1-7c3e-7d52-9f6b-2b1f0f4c8a11", "number": 1042, "status": "placed"},
}


def _by(query: type[BaseModel]) -> list[Any]:
    # drf-spectacular takes models of pydantic for parameters, which its types do not say.
    return [query]


read_feed = extend_schema(
    operation_id="read_events",
    parameters=_by(FeedQuery),
    responses={200: FeedOut},
    examples=[
        OpenApiExample(
            "One event",
            {
                "data": [ENVELOPE],
                "cursor": "7801-1042",
                "has_more": False,
                "held_back": {"events": 0, "age_s": 0.0},
            },
            response_only=True,
        )
    ],
)

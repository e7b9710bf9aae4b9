"""What the schema tells of events besides what the views do."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from pydantic import BaseModel

from events.api.serializers import (
    DeliveryPage,
    DeliveryQuery,
    EndpointChange,
    EndpointIn,
    EndpointList,
    EndpointOut,
    EndpointWithSecretOut,
    FeedOut,
    FeedQuery,
    PingIn,
    PingOut,
    ReplayIn,
    ReplayOut,
    RotationIn,
)
from events.errors import (
    AddressRefused,
    EndpointDisabled,
    EndpointNotFound,
    TooManyEndpoints,
    TypesForbidden,
)

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

LOCATION = OpenApiParameter(
    "Location", str, "header", response=[201], description="Where the endpoint is."
)
ENDPOINT = {"url": "https://shop.example.com/hooks/orders", "types": ["order.*"]}

list_webhooks = extend_schema(operation_id="list_webhooks", responses={200: EndpointList})
create_webhook = extend_schema(
    operation_id="create_webhook",
    parameters=[LOCATION],
    request=EndpointIn,
    responses={201: EndpointWithSecretOut},
    examples=[OpenApiExample("All of orders", ENDPOINT, request_only=True)],
    extensions={"x-refusals": (AddressRefused, TypesForbidden, TooManyEndpoints)},
)
get_webhook = extend_schema(
    operation_id="get_webhook",
    responses={200: EndpointOut},
    extensions={"x-refusals": (EndpointNotFound,)},
)
update_webhook = extend_schema(
    operation_id="update_webhook",
    request=EndpointChange,
    responses={200: EndpointOut},
    examples=[OpenApiExample("Enable it again", {"is_enabled": True}, request_only=True)],
    extensions={"x-refusals": (EndpointNotFound, AddressRefused, TypesForbidden)},
)
delete_webhook = extend_schema(
    operation_id="delete_webhook",
    responses={204: None},
    extensions={"x-refusals": (EndpointNotFound,)},
)
rotate_secret = extend_schema(
    operation_id="rotate_webhook_secret",
    request=RotationIn,
    responses={200: EndpointWithSecretOut},
    examples=[OpenApiExample("Both sign for two days", {"overlap_hours": 48}, request_only=True)],
    extensions={"x-refusals": (EndpointNotFound,)},
)
test_webhook = extend_schema(
    operation_id="test_webhook",
    request=PingIn,
    responses={202: PingOut},
    examples=[OpenApiExample("Nothing to say", {}, request_only=True)],
    extensions={"x-refusals": (EndpointNotFound, EndpointDisabled)},
)
list_deliveries = extend_schema(
    operation_id="list_webhook_deliveries",
    parameters=_by(DeliveryQuery),
    responses={200: DeliveryPage},
    extensions={"x-refusals": (EndpointNotFound,)},
)
replay_webhook = extend_schema(
    operation_id="replay_webhook",
    request=ReplayIn,
    responses={202: ReplayOut},
    examples=[
        OpenApiExample("Dead letters", {"dead_letters": True}, request_only=True),
        OpenApiExample(
            "An hour",
            {"since": "2026-05-04T12:00:00Z", "until": "2026-05-04T13:00:00Z"},
            request_only=True,
        ),
    ],
    extensions={"x-refusals": (EndpointNotFound, EndpointDisabled)},
)

"""What the schema tells of orders besides what the views do."""

from typing import Any

from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema,
)
from pydantic import BaseModel

from events.usecases import (
    IdempotencyKeyInvalid,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    RequestInProgress,
)
from orders.api.serializers import (
    BulkOut,
    BulkSchema,
    EventPage,
    EventQuery,
    OrderIn,
    OrderOut,
    OrderPage,
    OrderQuery,
)
from orders.usecases import InsufficientStock, OrderNotFound

ETAG = OpenApiParameter(
    "ETag", str, "header", response=[200, 201], description="The order's version, quoted."
)
LOCATION = OpenApiParameter(
    "Location", str, "header", response=[201], description="Where the order is."
)
ORDER = {
    "customer": "c-17",
    "reference": "shop-1001",
    "lines": [{"sku": "22196", "quantity": 3}],
    "charges": [{"code": "postage", "name": "Postage", "amount_minor": 495}],
    "ship_to": {
        "name": "Ann Reader",
        "lines": ["1 High Street"],
        "city": "York",
        "postal_code": "YO1 7HH",
        "country": "GB",
    },
}
PLACED = ORDER | {
    "id": "0197f0a1-7c3e-7d52-9f6b-2b1f0f4c8a11",
    "number": 1042,
    "status": "placed",
    "payment_status": "unpaid",
    "fulfillment_status": "unfulfilled",
    "currency": "GBP",
    "subtotal_minor": 750,
    "total_minor": 1245,
    "metadata": None,
    "lines": [
        {
            "sku": "22196",
            "quantity": 3,
            "unit_price_minor": 250,
            "total_minor": 750,
            "backordered": 0,
        }
    ],
    "served_version": "v2",
    "placed_at": "2026-05-04T12:00:00.000000Z",
    "updated_at": "2026-05-04T12:00:00.000000Z",
    "version": 1,
}


def _by(query: type[BaseModel]) -> list[Any]:
    # drf-spectacular takes models of pydantic for parameters, which its types do not say.
    return [query]


place_order = extend_schema(
    operation_id="place_order",
    parameters=[ETAG, LOCATION],
    request=OrderIn,
    responses={201: OrderOut},
    examples=[
        OpenApiExample("One line, postage, an address", ORDER, request_only=True),
        OpenApiExample("Placed", PLACED, response_only=True),
    ],
    extensions={
        "x-refusals": (
            IdempotencyKeyMissing,
            IdempotencyKeyInvalid,
            IdempotencyKeyReused,
            RequestInProgress,
            InsufficientStock,
        )
    },
)
place_orders = extend_schema(
    operation_id="place_orders",
    request=BulkSchema,
    responses={200: BulkOut},
    examples=[
        OpenApiExample(
            "Two orders",
            {
                "orders": [
                    {"idempotency_key": f"import-{n}", "customer": "c-17"}
                    | {"lines": [{"sku": "22196", "quantity": n}]}
                    for n in (1, 2)
                ]
            },
            request_only=True,
        )
    ],
)
list_orders = extend_schema(
    operation_id="list_orders", parameters=_by(OrderQuery), responses={200: OrderPage}
)
get_order = extend_schema(
    operation_id="get_order",
    parameters=[ETAG],
    responses={200: OrderOut},
    examples=[OpenApiExample("Placed", PLACED, response_only=True)],
    extensions={"x-refusals": (OrderNotFound,)},
)
list_order_events = extend_schema(
    operation_id="list_order_events",
    parameters=_by(EventQuery),
    responses={200: EventPage},
    extensions={"x-refusals": (OrderNotFound,)},
)

"""What the schema tells of orders besides what the views do."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
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
from inventory.usecases import (
    HoldNotLive,
    LocationNotFound,
    NotAllocated,
    NotOnHand,
    StockAboveLimit,
)
from orders.api.change_serializers import (
    CancelIn,
    FulfillmentIn,
    NoteIn,
    PaymentIn,
    ReturnIn,
)
from orders.api.serializers import (
    BulkOut,
    BulkSchema,
    EventPage,
    EventQuery,
    ExportQuery,
    NotePage,
    OrderIn,
    OrderOut,
    OrderPage,
    OrderQuery,
)
from orders.usecases import (
    ExportsBusy,
    InsufficientStock,
    OrderChanged,
    OrderNotFound,
    OrderStateConflict,
    PaymentEventReused,
)

View = TypeVar("View", bound=Callable[..., Any])

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
    "attention": None,
    "currency": "GBP",
    "subtotal_minor": 750,
    "total_minor": 1245,
    "due_minor": 1245,
    "authorized_minor": 0,
    "captured_minor": 0,
    "refunded_minor": 0,
    "pay_before": None,
    "metadata": None,
    "lines": [
        {
            "position": 0,
            "sku": "22196",
            "quantity": 3,
            "unit_price_minor": 250,
            "total_minor": 750,
            "backordered": 0,
            "cancelled_quantity": 0,
            "fulfilled_quantity": 0,
            "returned_quantity": 0,
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
            HoldNotLive,
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
NEXT_CURSOR = OpenApiParameter(
    "X-Next-Cursor",
    str,
    "header",
    response=[200],
    description="Where to go on; absent when these were all.",
)
export_orders = extend_schema(
    operation_id="export_orders",
    parameters=[*_by(ExportQuery), NEXT_CURSOR],
    responses={
        (200, "text/csv"): OpenApiTypes.STR,
        (200, "application/x-ndjson"): OpenApiTypes.STR,
    },
    extensions={"x-refusals": (ExportsBusy,)},
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

IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    "header",
    description="Do it only if the order is still at this version: its ETag.",
)
CHANGED_ETAG = OpenApiParameter(
    "ETag", str, "header", response=[201], description="The order's version after it, quoted."
)
CHANGING = (
    IdempotencyKeyMissing,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    RequestInProgress,
    OrderNotFound,
    OrderStateConflict,
    OrderChanged,
)


def _change(
    name: str, body: type[BaseModel], examples: dict[str, Any], *refusals: type[Exception]
) -> Callable[[View], View]:
    """Return what the schema tells of a verb that changes an order."""
    return extend_schema(
        operation_id=name,
        parameters=[IF_MATCH, CHANGED_ETAG],
        request=body,
        responses={201: OrderOut},
        examples=[
            OpenApiExample(title, value, request_only=True) for title, value in examples.items()
        ],
        extensions={"x-refusals": (*CHANGING, *refusals)},
    )


cancel_order = _change(
    "cancel_order",
    CancelIn,
    {
        "All that is open": {"reason": "The buyer changed their mind."},
        "Some units": {"lines": [{"position": 0, "quantity": 1}], "reason": "Sold out."},
    },
    NotAllocated,
)
record_payment = _change(
    "record_payment",
    PaymentIn,
    {
        "Captured": {
            "kind": "captured",
            "provider": "stripe",
            "provider_event_id": "evt_1",
            "amount_minor": 1245,
            "currency": "GBP",
        }
    },
    PaymentEventReused,
)
fulfill_order = _change(
    "fulfill_order",
    FulfillmentIn,
    {
        "All that is open": {"reference": "parcel-1"},
        "Two sent, one not found": {"lines": [{"position": 0, "quantity": 2, "short": 1}]},
    },
    NotAllocated,
    NotOnHand,
)
return_units = _change(
    "return_units",
    ReturnIn,
    {
        "One as new, one broken": {
            "lines": [
                {"position": 0, "quantity": 1, "disposition": "restock"},
                {"position": 0, "quantity": 1, "disposition": "scrap"},
            ],
            "reason": "Broken on the way.",
        }
    },
    LocationNotFound,
    StockAboveLimit,
)
add_note = _change(
    "add_note",
    NoteIn,
    {"Settled": {"text": "Refunded by hand.", "resolves_attention": True}},
)
list_notes = extend_schema(
    operation_id="list_notes",
    parameters=_by(EventQuery),
    responses={200: NotePage},
    extensions={"x-refusals": (OrderNotFound,)},
)

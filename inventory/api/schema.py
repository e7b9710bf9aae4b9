"""What the schema tells of SKUs and stock besides what the views do."""

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
from inventory.api.serializers import (
    AdjustmentIn,
    AvailabilityIn,
    AvailabilityListOut,
    CountIn,
    LevelOut,
    MovementDone,
    MovementPage,
    MovementQuery,
    PageQuery,
    PolicyChange,
    QuarantineIn,
    ReceiptIn,
    SkuChange,
    SkuIn,
    SkuOut,
    SkuPage,
    StockOut,
    StockPage,
    StockQuery,
)
from inventory.usecases import (
    BackorderLimitTooLow,
    LocationNotFound,
    QuarantineOutOfRange,
    SkuExists,
    SkuNotFound,
    SkuUntracked,
    StockAboveLimit,
    StockBelowZero,
    StockChanged,
)

KEYED = (
    IdempotencyKeyMissing,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    RequestInProgress,
)
MOVING = (
    *KEYED,
    SkuNotFound,
    SkuUntracked,
    LocationNotFound,
    StockAboveLimit,
)
LOCATION = OpenApiParameter(
    "Location", str, "header", response=[201], description="Where it is read."
)


def query_of(query: type[BaseModel]) -> list[Any]:
    """Return the parameters that a query has, as extend_schema takes them."""
    # drf-spectacular takes models of pydantic for parameters, which its types do not say.
    return [query]


list_skus = extend_schema(
    operation_id="list_skus", parameters=query_of(PageQuery), responses={200: SkuPage}
)
create_sku = extend_schema(
    operation_id="create_sku",
    parameters=[LOCATION],
    request=SkuIn,
    responses={201: SkuOut},
    examples=[
        OpenApiExample(
            "A cup",
            {"code": "CUP", "name": "Tea cup", "price_minor": 250, "currency": "EUR"},
            request_only=True,
        )
    ],
    extensions={"x-refusals": (SkuExists,)},
)
get_sku = extend_schema(
    operation_id="get_sku",
    responses={200: SkuOut},
    extensions={"x-refusals": (SkuNotFound,)},
)
update_sku = extend_schema(
    operation_id="update_sku",
    request=SkuChange,
    responses={200: SkuOut},
    examples=[OpenApiExample("A new price", {"price_minor": 275}, request_only=True)],
    extensions={"x-refusals": (SkuNotFound,)},
)
list_stock = extend_schema(
    operation_id="list_stock", parameters=query_of(StockQuery), responses={200: StockPage}
)
get_stock = extend_schema(
    operation_id="get_stock",
    responses={200: StockOut},
    extensions={"x-refusals": (SkuNotFound,)},
)
list_stock_movements = extend_schema(
    operation_id="list_stock_movements",
    parameters=query_of(MovementQuery),
    responses={200: MovementPage},
    extensions={"x-refusals": (SkuNotFound,)},
)
check_availability = extend_schema(
    operation_id="check_availability",
    request=AvailabilityIn,
    responses={200: AvailabilityListOut},
    examples=[OpenApiExample("Two SKUs", {"skus": ["CUP", "22196"]}, request_only=True)],
)
receive_stock = extend_schema(
    operation_id="receive_stock",
    request=ReceiptIn,
    responses={201: MovementDone},
    examples=[
        OpenApiExample("A delivery", {"quantity": 100, "reference": "PO-7"}, request_only=True)
    ],
    extensions={"x-refusals": MOVING},
)
adjust_stock = extend_schema(
    operation_id="adjust_stock",
    request=AdjustmentIn,
    responses={201: MovementDone},
    examples=[
        OpenApiExample("By a delta", {"delta": -2, "reason": "damage"}, request_only=True),
        OpenApiExample(
            "To a count",
            {"on_hand": 97, "expected_on_hand": 98, "reason": "count"},
            request_only=True,
        ),
    ],
    extensions={"x-refusals": (*MOVING, StockBelowZero, StockChanged)},
)
count_stock = extend_schema(
    operation_id="count_stock",
    request=CountIn,
    responses={201: MovementDone},
    examples=[
        OpenApiExample("Counted", {"counted": 97, "expected_on_hand": 98}, request_only=True)
    ],
    extensions={"x-refusals": (*MOVING, StockChanged)},
)
quarantine_stock = extend_schema(
    operation_id="quarantine_stock",
    request=QuarantineIn,
    responses={201: MovementDone},
    examples=[
        OpenApiExample("In", {"delta": 2, "reason": "inspection"}, request_only=True),
        OpenApiExample("Out", {"delta": -2, "reason": "inspection"}, request_only=True),
    ],
    extensions={"x-refusals": (*MOVING, QuarantineOutOfRange)},
)
set_stock_policy = extend_schema(
    operation_id="set_stock_policy",
    request=PolicyChange,
    responses={200: LevelOut},
    examples=[OpenApiExample("Warn early", {"safety": 2, "low_at": 10}, request_only=True)],
    extensions={"x-refusals": (SkuNotFound, SkuUntracked, LocationNotFound, BackorderLimitTooLow)},
)

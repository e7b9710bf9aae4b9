"""What the schema tells of holds besides what the views do."""

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema

from events.usecases import (
    IdempotencyKeyInvalid,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    RequestInProgress,
)
from inventory.api.hold_serializers import (
    ExtensionIn,
    HoldIn,
    HoldOut,
    HoldPage,
    HoldQuery,
    ReleaseIn,
)
from inventory.api.schema import query_of
from inventory.usecases import (
    HoldChanged,
    HoldInvalid,
    HoldLifeExceeded,
    HoldLimitReached,
    HoldNotFound,
    HoldNotLive,
    TooFewToHold,
)

KEYED = (IdempotencyKeyMissing, IdempotencyKeyInvalid, IdempotencyKeyReused, RequestInProgress)
ETAG = OpenApiParameter(
    "ETag", str, "header", response=[200, 201], description="The hold's version, quoted."
)
LOCATION = OpenApiParameter(
    "Location", str, "header", response=[201], description="Where the hold is."
)
IF_MATCH = OpenApiParameter(
    "If-Match", str, "header", description="The ETag that the hold must still have."
)

place_hold = extend_schema(
    operation_id="place_hold",
    parameters=[ETAG, LOCATION],
    request=HoldIn,
    responses={201: HoldOut},
    examples=[
        OpenApiExample(
            "A cart, for a quarter of an hour",
            {
                "lines": [{"sku": "22196", "quantity": 3}],
                "expires_in_s": 900,
                "reference": "cart-17",
            },
            request_only=True,
        )
    ],
    extensions={"x-refusals": (*KEYED, HoldInvalid, TooFewToHold, HoldLimitReached)},
)
list_holds = extend_schema(
    operation_id="list_holds", parameters=query_of(HoldQuery), responses={200: HoldPage}
)
get_hold = extend_schema(
    operation_id="get_hold",
    parameters=[ETAG],
    responses={200: HoldOut},
    extensions={"x-refusals": (HoldNotFound,)},
)
extend_hold = extend_schema(
    operation_id="extend_hold",
    parameters=[ETAG, IF_MATCH],
    request=ExtensionIn,
    responses={200: HoldOut},
    examples=[OpenApiExample("Ten minutes from now", {"expires_in_s": 600}, request_only=True)],
    extensions={"x-refusals": (*KEYED, HoldNotFound, HoldChanged, HoldNotLive, HoldLifeExceeded)},
)
release_hold = extend_schema(
    operation_id="release_hold",
    parameters=[ETAG, IF_MATCH],
    request=ReleaseIn,
    responses={200: HoldOut},
    examples=[OpenApiExample("Now", {}, request_only=True)],
    extensions={"x-refusals": (*KEYED, HoldNotFound, HoldChanged, HoldNotLive)},
)

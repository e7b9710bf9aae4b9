"""What holds read and write over HTTP."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from inventory.api.serializers import AFTER, Body, SkuCode
from inventory.models import Hold

LINES_MAX = 1_000
QUANTITY_MAX = 1_000_000
UUID_PATTERN = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"

Seconds = Annotated[
    int,
    Field(
        ge=settings.HOLD_S_MIN,
        le=settings.HOLD_S_MAX,
        examples=[900],
        description="Seconds from now, by the database's clock.",
    ),
]
Reference = Annotated[str, Field(min_length=1, max_length=128, examples=["cart-17"])]
State = Annotated[Hold.State, WithJsonSchema({"type": "string", "enum": Hold.State.values})]


class HoldLineIn(Body):
    """Units of one SKU to keep."""

    sku: SkuCode
    quantity: Annotated[int, Field(ge=1, le=QUANTITY_MAX, examples=[3])]


class HoldIn(Body):
    """Units to keep until a deadline, all of them or none. Two lines of one SKU are their sum."""

    lines: Annotated[list[HoldLineIn], Field(min_length=1, max_length=LINES_MAX)]
    expires_in_s: Seconds
    reference: Reference | None = None


class ExtensionIn(Body):
    """A later deadline."""

    expires_in_s: Seconds


class ReleaseIn(Body):
    """Nothing to say: an empty object."""


class HoldQuery(BaseModel):
    """Which page of the holds, newest first: limit entries after the last answer's next_cursor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=100, description="At most this many entries.")] = 50
    cursor: Annotated[str, Field(pattern=UUID_PATTERN), AFTER] | None = None
    state: State | None = None
    reference: Reference | None = None
    sku: SkuCode | None = None


class HoldLineOut(BaseModel):
    """Units of one SKU at one location."""

    sku: str
    location: str
    quantity: int


class HoldOut(BaseModel):
    """
    A hold. extendable_until: no extension goes beyond it. order_id: what it was converted into.

    state: live, converted, released or expired. version: the ETag.
    """

    id: UUID
    state: str
    reference: str | None
    lines: list[HoldLineOut]
    expires_at: datetime
    extendable_until: datetime
    order_id: UUID | None
    created_at: datetime
    updated_at: datetime
    version: int


class HoldPage(BaseModel):
    """Holds, newest first."""

    data: list[HoldOut]
    next_cursor: str | None

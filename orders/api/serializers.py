"""What orders reads and writes over HTTP."""

import base64
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from django.conf import settings
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from orders.iso import COUNTRIES
from orders.rules import (
    BULK_ORDERS_MAX,
    CHARGE_MINOR_MAX,
    LINES_MAX,
    QUANTITY_MAX,
    Charge,
    LineDraft,
    OrderDraft,
)
from orders.states import Attention, Status
from orders.usecases import ORDERS_MAX

METADATA_BYTES_MAX = 16 * 1024
INT_MAX = 2**63 - 1
PAY_WITHIN_S_MAX = 90 * 24 * 3600


def _is_country(country: str) -> str:
    if country not in COUNTRIES:
        raise ValueError("not a country of ISO 3166-1")
    return country


def _small_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    if _has_giant(metadata):
        raise ValueError(f"every number is between -{INT_MAX} and {INT_MAX}")
    if len(orjson.dumps(metadata)) > METADATA_BYTES_MAX:
        raise ValueError(f"at most {METADATA_BYTES_MAX} bytes of JSON")
    return metadata


def _has_giant(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_giant, value.values()))
    if isinstance(value, list):
        return any(map(_has_giant, value))
    # Floats too: jsonb gives 1e22 back as a whole number, which no answer could carry.
    return isinstance(value, int | float) and abs(value) > INT_MAX


def _in_utc(instant: datetime) -> datetime:
    # PostgreSQL refuses an offset of 16 hours, which RFC 3339 allows.
    try:
        return instant.astimezone(UTC)
    except OverflowError as failure:
        raise ValueError("not an instant between the years 1 and 9999") from failure


SkuCode = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", examples=["22196"])]
# No control characters: they break files, labels and terminals.
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"
Text = Annotated[str, Field(min_length=1, max_length=128, pattern=PRINTABLE)]
HoldId = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        description="A live hold: the order takes what it keeps, and releases the rest of it.",
    ),
]
Metadata = Annotated[dict[str, Any], AfterValidator(_small_metadata)]
StatusName = Annotated[Status, WithJsonSchema({"type": "string", "enum": [*Status]})]
AttentionName = Annotated[Attention, WithJsonSchema({"type": "string", "enum": [*Attention]})]
Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Limit = Annotated[int, Field(ge=1, le=100, description="At most this many entries.")]
AFTER = Field(description="Go on where the last page ended: its next_cursor.")


class Body(BaseModel):
    """A JSON object of which every member is known and has its own type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class LineIn(Body):
    """One line. The price is the SKU's own at the moment the order is placed."""

    sku: SkuCode
    quantity: Annotated[int, Field(ge=1, le=QUANTITY_MAX, examples=[3])]


class ChargeIn(Body):
    """Postage, tax or discount. amount_minor: negative for a discount."""

    code: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", examples=["postage"])]
    name: Text
    amount_minor: Annotated[int, Field(ge=-CHARGE_MINOR_MAX, le=CHARGE_MINOR_MAX)]


class ShipTo(Body):
    """Where an order goes. country: ISO 3166-1 alpha-2."""

    name: Text
    lines: Annotated[list[Text], Field(min_length=1, max_length=5)]
    city: Text
    postal_code: Annotated[str, Field(max_length=32, pattern=PRINTABLE)] = ""
    country: Annotated[
        str, Field(pattern=r"^[A-Z]{2}$", examples=["GB"]), AfterValidator(_is_country)
    ]


class OrderIn(Body):
    """An order to place. Two lines of one SKU are legal and count as their sum."""

    customer: Annotated[Text, Field(examples=["c-17"])]
    reference: Text | None = None
    lines: Annotated[list[LineIn], Field(min_length=1, max_length=LINES_MAX)]
    charges: Annotated[list[ChargeIn], Field(max_length=50)] = []
    ship_to: ShipTo | None = None
    metadata: Metadata | None = None
    allow_backorder: Annotated[
        bool, Field(description="Wait for what is not there, where the SKU may be sold so.")
    ] = False
    pay_within_s: (
        Annotated[
            int,
            Field(
                ge=60,
                le=PAY_WITHIN_S_MAX,
                description="Expires unless it is paid for in so many seconds.",
            ),
        ]
        | None
    ) = None
    hold: HoldId | None = None

    def draft(self) -> OrderDraft:
        """Return the order as the use case takes it."""
        return OrderDraft(
            customer=self.customer,
            lines=tuple(LineDraft(line.sku, line.quantity) for line in self.lines),
            reference=self.reference or "",
            charges=tuple(Charge(c.code, c.name, c.amount_minor) for c in self.charges),
            ship_to=None if self.ship_to is None else self.ship_to.model_dump(),
            metadata=self.metadata,
            allow_backorder=self.allow_backorder,
            pay_within_s=self.pay_within_s or settings.ORDERS_PAY_WITHIN_S or None,
            hold=None if self.hold is None else UUID(self.hold),
        )


class BulkOrderIn(OrderIn):
    """One order of a bulk, with the key that a request of its own would have had."""

    idempotency_key: Annotated[str, Field(min_length=1, max_length=257)]


class BulkIn(Body):
    """
    Orders to place, each for itself.

    The orders are looked at one by one, so that one that is wrong harms no other.
    """

    orders: Annotated[list[Any], Field(min_length=1, max_length=BULK_ORDERS_MAX)]


class BulkSchema(Body):
    """Orders to place, each for itself: as the schema tells it."""

    orders: Annotated[list[BulkOrderIn], Field(min_length=1, max_length=BULK_ORDERS_MAX)]


def _is_cursor(cursor: str) -> str:
    try:
        id_of_cursor(cursor)
    except ValueError as failure:
        raise ValueError("not a cursor of this list") from failure
    return cursor


class OrderQuery(BaseModel):
    """Which page of the orders, newest first: limit entries after the last answer's next_cursor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Limit = 50
    cursor: Annotated[str, AfterValidator(_is_cursor), AFTER] | None = None
    status: StatusName | None = None
    attention: AttentionName | None = None
    customer: Text | None = None
    reference: Text | None = None
    sku: SkuCode | None = None
    placed_after: Annotated[Instant, Field(description="Later than this.")] | None = None
    placed_before: Annotated[Instant, Field(description="Earlier than this.")] | None = None
    updated_since: Annotated[Instant, Field(description="At this instant or later.")] | None = None
    served_version: Annotated[str, Field(min_length=1, max_length=32)] | None = None


class ExportQuery(BaseModel):
    """Which orders, first to last, and in which form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Annotated[
        Literal["csv", "ndjson"],
        Field(description="A line of CSV for each line of an order, or one document an order."),
    ]
    limit: Annotated[int, Field(ge=1, le=ORDERS_MAX)] = ORDERS_MAX
    cursor: Annotated[str, AfterValidator(_is_cursor), AFTER] | None = None
    placed_after: Annotated[Instant, Field(description="Later than this.")] | None = None
    placed_before: Annotated[Instant, Field(description="Earlier than this.")] | None = None


class EventQuery(BaseModel):
    """Which page of a timeline, first to last."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Limit = 100
    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,18}$"), AFTER] | None = None


class LineOut(BaseModel):
    """
    One line as it was sent, with the price it was placed at, and what became of its units.

    backordered: units that were not there when the order was placed.
    """

    position: int
    sku: str
    quantity: int
    unit_price_minor: int
    total_minor: int
    backordered: int
    cancelled_quantity: int
    fulfilled_quantity: int
    returned_quantity: int


class ChargeOut(BaseModel):
    """Postage, tax or discount."""

    code: str
    name: str
    amount_minor: int


class OrderOut(BaseModel):
    """
    An order. Amounts are minor units of currency; total_minor is the subtotal plus the charges.

    due_minor: the total less what was cancelled. attention: why somebody should look at it.
    served_version: the version of the placing code that took it. version: the ETag.
    """

    id: UUID
    number: int
    status: str
    payment_status: str
    fulfillment_status: str
    attention: str | None
    customer: str
    reference: str | None
    currency: str
    subtotal_minor: int
    charges: list[ChargeOut]
    total_minor: int
    due_minor: int
    authorized_minor: int
    captured_minor: int
    refunded_minor: int
    pay_before: datetime | None
    ship_to: ShipTo | None
    metadata: dict[str, Any] | None
    lines: list[LineOut]
    served_version: str
    placed_at: datetime
    updated_at: datetime
    version: int


class OrderPage(BaseModel):
    """Orders, newest first."""

    data: list[OrderOut]
    next_cursor: str | None


class EventOut(BaseModel):
    """Something that happened to an order; version is the order's after it."""

    id: UUID
    type: str
    version: int
    data: dict[str, Any]
    occurred_at: datetime


class EventPage(BaseModel):
    """An order's timeline, first to last."""

    data: list[EventOut]
    next_cursor: str | None


class NoteOut(BaseModel):
    """What somebody wrote down; version is the order's after it."""

    version: int
    author: str
    text: str
    written_at: datetime


class NotePage(BaseModel):
    """An order's notes, first to last."""

    data: list[NoteOut]
    next_cursor: str | None


class BulkResult(BaseModel):
    """What one order of a bulk would have been answered by itself."""

    idempotency_key: str | None
    status: int
    is_replayed: bool
    body: Annotated[
        OrderOut | dict[str, Any], Field(description="The order, or the problem that it met.")
    ]


class BulkOut(BaseModel):
    """One result for each order, in order."""

    data: list[BulkResult]


def cursor_of(order_id: UUID) -> str:
    """Return the cursor that goes on after an order."""
    return base64.urlsafe_b64encode(order_id.bytes).rstrip(b"=").decode()


def id_of_cursor(cursor: str) -> UUID:
    """Return the order that a cursor goes on after; raises ValueError for anything else."""
    return UUID(bytes=base64.urlsafe_b64decode(cursor.encode("ascii") + b"=="))

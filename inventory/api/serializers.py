"""What inventory reads and writes over HTTP."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from inventory.iso import CURRENCIES
from inventory.models import Movement, Sku, StockLevel
from inventory.rules import (
    CONTROL_CHARACTERS,
    PRICE_MINOR_MAX,
    REASONS,
    UNITS_MAX,
    Availability,
)

SkuCode = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", examples=["22196"])]
LocationCode = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,32}$", examples=["main"])]
PriceMinor = Annotated[int, Field(ge=0, le=PRICE_MINOR_MAX, examples=[250])]
PRINTABLE = f"^[^{CONTROL_CHARACTERS}]*$"


def _is_money(currency: str) -> str:
    if currency not in CURRENCIES:
        raise ValueError("not a currency of ISO 4217")
    return currency


Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["EUR"]), AfterValidator(_is_money)]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=PRINTABLE)]
Reference = Annotated[str, Field(max_length=128, pattern=PRINTABLE)]
Note = Annotated[str, Field(max_length=255, pattern=PRINTABLE)]
SellPolicyIn = Literal["deny", "backorder"]
Units = Annotated[int, Field(ge=0, le=UNITS_MAX)]
Reason = Annotated[str, Field(pattern=f"^({'|'.join(REASONS)})$", examples=["damage"])]

AVAILABILITY_SKUS_MAX = 500
AFTER = Field(description="Go on where the last page ended: its next_cursor.")


class Body(BaseModel):
    """A JSON object of which every member is known and has its own type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SkuIn(Body):
    """A new SKU. price_minor: minor units of currency."""

    code: SkuCode
    name: Name
    price_minor: PriceMinor
    currency: Currency
    is_active: bool = True
    is_tracked: bool = True
    sell_policy: SellPolicyIn = "deny"


class SkuChange(Body):
    """The members of a SKU that change; the rest stays."""

    name: Name | None = None
    price_minor: PriceMinor | None = None
    currency: Currency | None = None
    is_active: bool | None = None
    sell_policy: SellPolicyIn | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "SkuChange":
        if not self.model_fields_set:
            raise ValueError("name at least one member to change")
        if any(getattr(self, name) is None for name in self.model_fields_set):
            raise ValueError("no member of a SKU can be null")
        return self


class ReceiptIn(Body):
    """Units that came in."""

    quantity: Annotated[int, Field(ge=1, le=UNITS_MAX, examples=[100])]
    location: LocationCode = "main"
    reference: Reference = ""
    note: Note = ""


class AdjustmentIn(Body):
    """A correction: by delta, or to on_hand if the books still say expected_on_hand."""

    delta: Annotated[int, Field(ge=-UNITS_MAX, le=UNITS_MAX)] | None = None
    on_hand: Units | None = None
    expected_on_hand: Units | None = None
    reason: Reason
    location: LocationCode = "main"
    note: Note = ""

    @model_validator(mode="after")
    def _is_one_of_two(self) -> "AdjustmentIn":
        is_set = self.on_hand is not None and self.expected_on_hand is not None
        is_half_set = (self.on_hand is None) != (self.expected_on_hand is None)
        if is_half_set or is_set == (self.delta is not None):
            raise ValueError("write either delta, or on_hand and expected_on_hand")
        if self.delta == 0:
            raise ValueError("a delta of 0 corrects nothing")
        return self


class CountIn(Body):
    """What was counted. expected_on_hand: refuse when the books say something else by now."""

    counted: Annotated[int, Field(ge=0, le=UNITS_MAX, examples=[97])]
    expected_on_hand: Units | None = None
    location: LocationCode = "main"
    note: Note = ""


class QuarantineIn(Body):
    """Units to put into quarantine, or, with a delta below 0, to take out of it."""

    delta: Annotated[int, Field(ge=-UNITS_MAX, le=UNITS_MAX, examples=[2])]
    reason: Reason
    location: LocationCode = "main"
    note: Note = ""

    @model_validator(mode="after")
    def _moves_something(self) -> "QuarantineIn":
        if self.delta == 0:
            raise ValueError("a delta of 0 moves nothing")
        return self


class PolicyChange(Body):
    """
    What of a level's policy changes; the rest stays.

    safety: units that no order gets. low_at: fewer available than this are too few.
    backorder_limit: units that orders may wait for, where the SKU's sell policy is backorder.
    """

    safety: Units | None = None
    low_at: Units | None = None
    backorder_limit: Units | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "PolicyChange":
        if not self.model_fields_set:
            raise ValueError("name at least one member to change")
        if any(getattr(self, name) is None for name in self.model_fields_set):
            raise ValueError("no member of a policy can be null")
        return self


class AvailabilityIn(Body):
    """The SKUs to ask for, by code."""

    skus: Annotated[list[SkuCode], Field(min_length=1, max_length=AVAILABILITY_SKUS_MAX)]


class PageQuery(BaseModel):
    """Which page of a list: limit entries after cursor, which is the last answer's next_cursor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=100, description="At most this many entries.")] = 50
    cursor: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$"), AFTER] | None = None


class StockQuery(PageQuery):
    """
    Which page of the stock, and of which levels.

    state: low for fewer available than low_at, shortfall for more promised than there is,
    waiting for those that orders wait at.
    """

    state: Literal["low", "shortfall", "waiting"] | None = None
    location: LocationCode | None = None


class MovementQuery(PageQuery):
    """Which page of a ledger."""

    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,18}$"), AFTER] | None = None
    location: LocationCode = "main"


class SkuOut(BaseModel):
    """A SKU as it is sold now."""

    code: str
    name: str
    price_minor: int
    currency: str
    is_active: bool
    is_tracked: bool
    sell_policy: SellPolicyIn
    created_at: datetime
    updated_at: datetime


class LevelOut(BaseModel):
    """The units of one SKU at one location; version counts its movements."""

    location: str
    on_hand: int
    unavailable: int
    safety: int
    held: int
    allocated: int
    waiting: int
    incoming: int
    available: int
    shortfall: int
    backorder_limit: int
    low_at: int
    version: int


class StockOut(BaseModel):
    """
    The units of one SKU over all locations, and at each. available: what can be ordered now.

    waiting: how many of the allocated units are not there yet.
    """

    sku: str
    is_tracked: bool
    on_hand: int
    unavailable: int
    safety: int
    held: int
    allocated: int
    waiting: int
    incoming: int
    available: int
    shortfall: int
    locations: list[LevelOut]
    as_of: datetime


class AvailabilityOut(BaseModel):
    """What can be ordered of one SKU now; available is null for a SKU that is not tracked."""

    sku: str
    is_known: bool
    is_active: bool
    available: int | None


class AvailabilityListOut(BaseModel):
    """The SKUs asked for, in their order; as_of is the oldest of the answers."""

    data: list[AvailabilityOut]
    as_of: datetime


class MovementDone(BaseModel):
    """A movement that was made, and the level after it."""

    sku: str
    location: str
    kind: str
    on_hand_change: int
    on_hand: int
    available: int
    shortfall: int
    unavailable: int
    reason: str
    reference: str
    note: str
    version: int


class MovementOut(BaseModel):
    """One row of the ledger: what changed, the balances after it, why and by whom."""

    location: str
    version: int
    kind: str
    on_hand_change: int
    unavailable_change: int
    held_change: int
    allocated_change: int
    waiting_change: int
    incoming_change: int
    shortfall_change: int
    on_hand_after: int
    unavailable_after: int
    held_after: int
    allocated_after: int
    waiting_after: int
    incoming_after: int
    shortfall_after: int
    reason: str
    reference: str
    note: str
    order_id: str | None
    hold_id: str | None
    actor: str
    source: str
    served_version: str
    rules_generation: int | None
    trace_id: str
    created_at: datetime


class SkuPage(BaseModel):
    """SKUs by code."""

    data: list[SkuOut]
    next_cursor: str | None


class StockPage(BaseModel):
    """Stock by SKU code."""

    data: list[StockOut]
    next_cursor: str | None


class MovementPage(BaseModel):
    """A ledger, newest first."""

    data: list[MovementOut]
    next_cursor: str | None


COUNTERS = (
    *("on_hand", "unavailable", "safety", "held", "allocated", "waiting"),
    *("incoming", "shortfall"),
)


def sku_document(sku: Sku) -> dict[str, Any]:
    """Return a SKU as SkuOut describes it."""
    return {name: getattr(sku, name) for name in SkuOut.model_fields}


def level_document(level: StockLevel) -> dict[str, Any]:
    """Return a level as LevelOut describes it; it comes with its location."""
    special = {
        "location": level.location.code,
        "available": level.available if level.location.is_active else 0,
    }
    return {
        name: special[name] if name in special else getattr(level, name)
        for name in LevelOut.model_fields
    }


def stock_document(sku: Sku, levels: Iterable[StockLevel], *, now: datetime) -> dict[str, Any]:
    """Return a SKU's stock as StockOut describes it; levels come with their location."""
    locations = [level_document(level) for level in levels]
    totals = {name: sum(level[name] for level in locations) for name in (*COUNTERS, "available")}
    return {
        "sku": sku.code,
        "is_tracked": sku.is_tracked,
        **totals,
        "locations": locations,
        "as_of": now.astimezone(UTC),
    }


def availability_document(code: str, known: Availability | None) -> dict[str, Any]:
    """Return what can be ordered of a SKU as AvailabilityOut describes it."""
    if known is None:
        return {"sku": code, "is_known": False, "is_active": False, "available": 0}
    return {
        "sku": code,
        "is_known": True,
        "is_active": known.is_active,
        "available": known.available,
    }


def movement_document(movement: Movement) -> dict[str, Any]:
    """Return a row of the ledger as MovementOut describes it; its level has its location."""
    special = {
        "location": movement.level.location.code,
        "version": movement.level_version,
        "order_id": str(movement.order_id) if movement.order_id else None,
        "hold_id": str(movement.hold_id) if movement.hold_id else None,
    }
    return {
        name: special[name] if name in special else getattr(movement, name)
        for name in MovementOut.model_fields
    }

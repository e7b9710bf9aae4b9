"""What is asked of an order over HTTP after it was placed."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from inventory.usecases import MAIN_LOCATION
from orders.api.serializers import Body, Text
from orders.lifecycle import Comeback, Cut, Payment, Pick
from orders.rules import LINES_MAX, QUANTITY_MAX, TOTAL_MINOR_MAX

Position = Annotated[int, Field(ge=0, lt=LINES_MAX, description="The line, counted from 0.")]
Quantity = Annotated[int, Field(ge=1, le=QUANTITY_MAX)]
LocationCode = Annotated[str, Field(min_length=1, max_length=32, examples=["main"])]
Reason = Annotated[str, Field(max_length=500)]


class CutIn(Body):
    """Units of one line to cancel."""

    position: Position
    quantity: Quantity


class CancelIn(Body):
    """What to cancel: some units, or without lines all that are open."""

    lines: Annotated[list[CutIn], Field(min_length=1, max_length=LINES_MAX)] | None = None
    reason: Reason = ""

    def cuts(self) -> list[Cut] | None:
        """Return what the use case takes."""
        if self.lines is None:
            return None
        return [Cut(line.position, line.quantity) for line in self.lines]


class PickIn(Body):
    """
    Units of one line that are sent, from a location or from wherever they are allocated.

    short: units that nobody found; they are cancelled, and not sold until they are counted.
    """

    position: Position
    quantity: Annotated[int, Field(ge=0, le=QUANTITY_MAX)]
    short: Annotated[int, Field(ge=0, le=QUANTITY_MAX)] = 0
    location: LocationCode | None = None

    @model_validator(mode="after")
    def _is_about_something(self) -> Self:
        if not (self.quantity or self.short):
            raise ValueError("quantity or short must be 1 or more")
        return self


class FulfillmentIn(Body):
    """What is sent: some units, or without lines all that are open. reference: the parcel's."""

    lines: Annotated[list[PickIn], Field(min_length=1, max_length=LINES_MAX)] | None = None
    reference: Text | None = None

    def picks(self) -> list[Pick] | None:
        """Return what the use case takes."""
        if self.lines is None:
            return None
        return [Pick(p.position, p.quantity, p.short, p.location) for p in self.lines]


class ComebackIn(Body):
    """Units of one line that came back, where they are now, and what becomes of them."""

    position: Position
    quantity: Quantity
    disposition: Literal["restock", "quarantine", "scrap"]
    location: LocationCode = MAIN_LOCATION


class ReturnIn(Body):
    """What came back."""

    lines: Annotated[list[ComebackIn], Field(min_length=1, max_length=LINES_MAX)]
    reason: Reason = ""

    def comebacks(self) -> list[Comeback]:
        """Return what the use case takes."""
        return [
            Comeback(line.position, line.quantity, line.disposition, line.location)
            for line in self.lines
        ]


class PaymentIn(Body):
    """What a provider of payments says happened; each of its events is recorded once."""

    kind: Literal["authorized", "captured", "failed", "refunded"]
    provider: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", examples=["stripe"])]
    provider_event_id: Annotated[str, Field(min_length=1, max_length=128, examples=["evt_1"])]
    amount_minor: Annotated[int, Field(ge=0, le=TOTAL_MINOR_MAX)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["EUR"])]

    def payment(self) -> Payment:
        """Return what the use case takes."""
        return Payment(**self.model_dump())


class NoteIn(Body):
    """Something to remember about an order; resolves_attention: what asked for it is settled."""

    text: Annotated[str, Field(min_length=1, max_length=4000)]
    resolves_attention: bool = False

"""What a file of another system's orders says: one JSON document a line."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import AwareDatetime, Field, ValidationError

from inventory.usecases import PRICE_MINOR_MAX
from orders.api.serializers import Body, ChargeIn, LineIn, Metadata, ShipTo, Text
from orders.rules import LINES_MAX, Charge, LineDraft, OrderDraft


class PastLineIn(LineIn):
    """One line, with the price that it had."""

    unit_price_minor: Annotated[int, Field(ge=0, le=PRICE_MINOR_MAX)]


class PastOrderIn(Body):
    """An order as it stands: still open, or over."""

    reference: Text
    status: Literal["open", "closed", "cancelled"]
    placed_at: Annotated[AwareDatetime, Field(strict=False)]
    customer: Text
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    lines: Annotated[list[PastLineIn], Field(min_length=1, max_length=LINES_MAX)]
    charges: Annotated[list[ChargeIn], Field(max_length=50)] = []
    ship_to: ShipTo | None = None
    metadata: Metadata | None = None

    def draft(self) -> OrderDraft:
        """Return the order as the use cases take it."""
        return OrderDraft(
            customer=self.customer,
            lines=tuple(
                LineDraft(line.sku, line.quantity, line.unit_price_minor) for line in self.lines
            ),
            reference=self.reference,
            charges=tuple(Charge(c.code, c.name, c.amount_minor) for c in self.charges),
            ship_to=None if self.ship_to is None else self.ship_to.model_dump(),
            metadata=self.metadata,
        )


@dataclass(frozen=True, slots=True)
class PastRow:
    """One line of the file that can be read. content: what it says, for its key."""

    text: str
    status: Literal["open", "closed", "cancelled"]
    placed_at: datetime
    currency: str
    draft: OrderDraft
    content: Any


@dataclass(frozen=True, slots=True)
class BadPastRow:
    """A line that cannot be imported, and why."""

    text: str
    why: str
    detail: str


def read_past_orders(lines: Iterator[bytes]) -> Iterator[PastRow | BadPastRow]:
    """Read lines one by one, so that a file may have any length; empty ones are none."""
    for line in lines:
        if text := line.decode(errors="replace").strip():
            yield _read(line, text)


def _read(line: bytes, text: str) -> PastRow | BadPastRow:
    try:
        content = orjson.loads(line)
        order = PastOrderIn.model_validate(content)
    except orjson.JSONDecodeError as failure:
        return BadPastRow(text, "malformed_json", str(failure))
    except ValidationError as failure:
        fault = failure.errors()[0]
        place = "/".join(map(str, fault["loc"]))
        return BadPastRow(text, "validation_failed", f"/{place}: {fault['msg']}")
    return PastRow(text, order.status, order.placed_at, order.currency, order.draft(), content)

"""What events reads and writes over HTTP."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from events.feed import CURSOR

TYPE = r"[a-z][a-z_]*\.(?:[a-z][a-z_.]*|\*)"
TYPES = Field(
    pattern=rf"^{TYPE}(?:,{TYPE}){{0,31}}$",
    max_length=1024,
    description="Only these types, comma-separated; `order.*` is all of orders.",
    examples=["order.placed,stock.*"],
)


class FeedQuery(BaseModel):
    """Which page of the feed: limit events after a cursor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after: (
        Annotated[
            str,
            Field(
                pattern=CURSOR,
                description="Go on where the last page ended: its cursor. Without it, from the"
                " beginning.",
            ),
        ]
        | None
    ) = None
    types: Annotated[str, TYPES] | None = None
    limit: Annotated[int, Field(ge=1, le=500, description="At most this many events.")] = 100

    @property
    def wanted_types(self) -> list[str]:
        """The types asked for; empty for all."""
        return self.types.split(",") if self.types else []


class EnvelopeOut(BaseModel):
    """
    An event as CloudEvents 1.0 has it.

    `source` and `id` name it in the world. aggregateversion rises with every event of a subject.
    """

    specversion: str
    id: UUID
    source: str
    type: str
    subject: str
    time: datetime
    datacontenttype: str
    aggregateversion: int
    data: dict[str, Any]
    traceparent: str | None = None


class HeldBackOut(BaseModel):
    """
    What is committed and not shown yet, because an earlier transaction is still under way.

    events: how many, counted up to 100. age_s: of the oldest.
    """

    events: int
    age_s: float


class FeedOut(BaseModel):
    """
    Events in an order in which nothing comes late.

    cursor: to go on from, also when data is empty. has_more: ask again at once.
    """

    data: list[EnvelopeOut]
    cursor: str
    has_more: bool
    held_back: HeldBackOut

"""What events reads and writes over HTTP."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from events.endpoints import OVERLAP_HOURS
from events.feed import CURSOR
from events.models import Delivery, Endpoint, Event
from events.rules import TYPE

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


class Body(BaseModel):
    """A JSON object of which every member is known and has its own type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2048,
        description="https, to a host in the open Internet, port 443 or 8443.",
        examples=["https://shop.example.com/hooks/orders"],
    ),
]
Types = Annotated[
    list[Annotated[str, Field(pattern=rf"^{TYPE}$", max_length=64)]],
    Field(max_length=32, description="Exact types or `order.*`; none is all."),
]
Description = Annotated[str, Field(max_length=200)]


class EndpointIn(Body):
    """Where to tell an account of events, and of which."""

    url: Url
    types: Types = []
    description: Description = ""


class EndpointChange(Body):
    """What is to change; what is not named stays."""

    url: Url | None = None
    types: Types | None = None
    description: Description | None = None
    is_enabled: bool | None = None

    def changes(self) -> dict[str, Any]:
        """Return what is named."""
        return self.model_dump(exclude_none=True)


class RotationIn(Body):
    """For how long the former secret signs too, beside the new one."""

    overlap_hours: Annotated[int, Field(ge=0, le=168)] = OVERLAP_HOURS


class PingIn(Body):
    """Nothing: an empty object."""


class ReplayIn(Body):
    """
    What to deliver again: the dead letters, or what was recorded in a range of time.

    until is not part of the range; without it, until now.
    """

    model_config = ConfigDict(strict=False, extra="forbid", frozen=True)

    dead_letters: Annotated[bool, Field(strict=True)] = False
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if self.dead_letters == (self.since is not None):
            raise ValueError("name either dead_letters or since")
        if self.until is not None and (self.since is None or self.until <= self.since):
            raise ValueError("until comes after since")
        return self


class DeliveryQuery(BaseModel):
    """Which page of an endpoint's deliveries, newest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=100, description="At most this many entries.")] = 50
    cursor: (
        Annotated[
            str,
            Field(
                pattern=r"^[0-9]{1,18}$",
                description="Go on where the last page ended: its next_cursor.",
            ),
        ]
        | None
    ) = None
    state: Literal["pending", "delivered", "dead"] | None = None


class EndpointOut(BaseModel):
    """
    Where an account is told of events.

    failing_since: since when it has taken nothing; after five days it is disabled. paused_until:
    nothing is sent before. sees_shared: it is told of stock; sees_all: of every account's orders.
    """

    id: UUID
    url: str
    types: list[str]
    description: str
    is_enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    paused_until: datetime | None
    sees_shared: bool
    sees_all: bool
    former_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime


class EndpointWithSecretOut(EndpointOut):
    """An endpoint with its secret, which is told this once."""

    secret: str


class EndpointList(BaseModel):
    """Every endpoint of the account, oldest first."""

    data: list[EndpointOut]
    next_cursor: None


class PingOut(BaseModel):
    """The event that is on its way."""

    event_id: UUID


class ReplayOut(BaseModel):
    """
    How many deliveries are due again.

    has_more: there was more than one call replays; goes_on_at is the since of the next call.
    """

    deliveries: int
    has_more: bool
    goes_on_at: datetime | None


class DeliveryOut(BaseModel):
    """
    One event on its way to one endpoint, and how the last attempt ended.

    status: what the endpoint answered; error: why there was no answer. answer: its beginning.
    """

    id: int
    event_id: UUID
    event_type: str | None
    subject: str | None
    state: str
    attempts: int
    due_at: datetime | None
    attempted_at: datetime | None
    status: int | None
    error: str | None
    answer: str | None
    duration_ms: int | None
    created_at: datetime


class DeliveryPage(BaseModel):
    """Deliveries, newest first."""

    data: list[DeliveryOut]
    next_cursor: str | None


def endpoint_document(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint as the API tells it, without its secret."""
    return {
        "id": str(endpoint.pk),
        "url": endpoint.url,
        "types": endpoint.types,
        "description": endpoint.description,
        "is_enabled": endpoint.is_enabled,
        "disabled_reason": endpoint.disabled_reason or None,
        "disabled_at": endpoint.disabled_at,
        "failing_since": endpoint.lane.failing_since,
        "paused_until": endpoint.lane.paused_until,
        "sees_shared": endpoint.sees_shared,
        "sees_all": endpoint.sees_all,
        "former_secret_until": endpoint.former_secret_until,
        "created_at": endpoint.created_at,
        "updated_at": endpoint.updated_at,
    }


def delivery_document(delivery: Delivery, event: Event | None) -> dict[str, Any]:
    """Return a delivery as the API tells it."""
    is_pending = delivery.state == Delivery.State.PENDING
    return {
        "id": delivery.pk,
        "event_id": str(delivery.event_id),
        "event_type": event and event.type,
        "subject": event and f"{event.aggregate_type}/{event.aggregate_id}",
        "state": delivery.state,
        "attempts": delivery.attempts,
        "due_at": delivery.due_at if is_pending else None,
        "attempted_at": delivery.attempted_at,
        "status": delivery.status,
        "error": delivery.error or None,
        "answer": delivery.answer or None,
        "duration_ms": delivery.duration_ms,
        "created_at": delivery.created_at,
    }

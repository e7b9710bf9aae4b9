"""Transfers over HTTP."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from pydantic import BaseModel, ConfigDict, Field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from inventory import usecases
from inventory.api.requests import keyed, provenance_of, told
from inventory.api.schema import KEYED, LOCATION, MOVING, query_of
from inventory.api.serializers import (
    AFTER,
    Body,
    LocationCode,
    Note,
    Reason,
    Reference,
    Units,
)
from inventory.rules import UNITS_MAX
from inventory.usecases import (
    ReasonMissing,
    SameLocation,
    StockAboveLimit,
    StockNotFree,
    TransferClosed,
    TransferNotFound,
)


class TransferIn(Body):
    """Units to send from one location to another."""

    quantity: Annotated[int, Field(ge=1, le=UNITS_MAX, examples=[20])]
    source: Annotated[LocationCode, Field(alias="from")]
    destination: Annotated[LocationCode, Field(alias="to")]
    reference: Reference = ""
    note: Note = ""


class TransferReceiptIn(Body):
    """
    What arrived of a transfer.

    is_last: nothing more will come. reason: why more or fewer units arrived than are under way.
    """

    quantity: Units
    is_last: bool = True
    reason: Reason | None = None
    note: Note = ""


class TransferCancelIn(Body):
    """What is still under way goes back to where it came from."""

    note: Note = ""


class TransferQuery(BaseModel):
    """Which page of the transfers, newest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=100, description="At most this many entries.")] = 50
    cursor: Annotated[UUID, AFTER] | None = None
    status: Literal["open", "closed"] | None = None


class TransferOut(BaseModel):
    """
    Units on their way. under_way: of which nothing is known yet.

    received: of those sent; surplus: came besides. missing: written off. returned: sent back.
    """

    id: UUID
    sku: str
    source: Annotated[str, Field(alias="from")]
    destination: Annotated[str, Field(alias="to")]
    status: Literal["open", "closed"]
    quantity: int
    under_way: int
    received: int
    returned: int
    missing: int
    surplus: int
    reference: str
    note: str
    actor: str
    created_at: datetime
    closed_at: datetime | None


class TransferPage(BaseModel):
    """Transfers, newest first."""

    data: list[TransferOut]
    next_cursor: str | None


UNDER_WAY = (*KEYED, TransferNotFound, TransferClosed, StockAboveLimit)


class TransferViewSet(ViewSet):
    """Units that go from one location to another, in two steps."""

    scopes = {
        "list": "stock:read",
        "retrieve": "stock:read",
        "send": "stock:write",
        "receive": "stock:write",
        "cancel": "stock:write",
    }

    @extend_schema(
        operation_id="list_transfers",
        parameters=query_of(TransferQuery),
        responses={200: TransferPage},
    )
    def list(self, request: Request) -> Response:
        """Return transfers, newest first; those under way with status=open."""
        query = TransferQuery.model_validate(request.query_params.dict())
        rows, next_id = usecases.list_transfers(
            is_open=None if query.status is None else query.status == "open",
            before_id=query.cursor,
            limit=query.limit,
        )
        data = [usecases.transfer_document(row) for row in rows]
        return Response({"data": data, "next_cursor": next_id and str(next_id)})

    @extend_schema(
        operation_id="get_transfer",
        responses={200: TransferOut},
        extensions={"x-refusals": (TransferNotFound,)},
    )
    def retrieve(self, request: Request, transfer_id: UUID) -> Response:
        """Return one transfer."""
        return Response(usecases.transfer_document(usecases.get_transfer(transfer_id)))

    @extend_schema(
        operation_id="send_transfer",
        parameters=[LOCATION],
        request=TransferIn,
        responses={201: TransferOut},
        examples=[
            OpenApiExample(
                "To the annex",
                {"quantity": 20, "from": "main", "to": "annex"},
                request_only=True,
            )
        ],
        extensions={"x-refusals": (*MOVING, StockNotFree, SameLocation)},
    )
    def send(self, request: Request, code: str) -> HttpResponse:
        """Take free units away from a location; at the other they are incoming."""
        body = TransferIn.model_validate(request.data)
        return told(
            usecases.send_transfer(
                request=keyed(request),
                sku=code,
                provenance=provenance_of(request),
                now=timezone.now(),
                **body.model_dump(),
            )
        )

    @extend_schema(
        operation_id="receive_transfer",
        request=TransferReceiptIn,
        responses={201: TransferOut},
        examples=[
            OpenApiExample("All of it", {"quantity": 20}, request_only=True),
            OpenApiExample(
                "One is broken", {"quantity": 19, "reason": "damage"}, request_only=True
            ),
        ],
        extensions={"x-refusals": (*UNDER_WAY, ReasonMissing)},
    )
    def receive(self, request: Request, transfer_id: UUID) -> HttpResponse:
        """Put what arrived on hand, and book what did not."""
        body = TransferReceiptIn.model_validate(request.data)
        return told(
            usecases.receive_transfer(
                request=keyed(request),
                transfer_id=transfer_id,
                quantity=body.quantity,
                is_last=body.is_last,
                reason=body.reason or "",
                note=body.note,
                provenance=provenance_of(request),
                now=timezone.now(),
            )
        )

    @extend_schema(
        operation_id="cancel_transfer",
        request=TransferCancelIn,
        responses={201: TransferOut},
        examples=[OpenApiExample("The van came back", {"note": "van 7"}, request_only=True)],
        extensions={"x-refusals": UNDER_WAY},
    )
    def cancel(self, request: Request, transfer_id: UUID) -> HttpResponse:
        """Put what is still under way back where it came from."""
        body = TransferCancelIn.model_validate(request.data)
        return told(
            usecases.cancel_transfer(
                request=keyed(request),
                transfer_id=transfer_id,
                note=body.note,
                provenance=provenance_of(request),
                now=timezone.now(),
            )
        )

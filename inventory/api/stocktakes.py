"""Stocktakes over HTTP."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from pydantic import BaseModel, ConfigDict, Field, model_validator
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from inventory import usecases
from inventory.api.requests import keyed, provenance_of, told
from inventory.api.schema import KEYED, LOCATION, query_of
from inventory.api.serializers import AFTER, Body, LocationCode, Note, Reference, SkuCode, Units
from inventory.usecases import (
    LocationNotFound,
    SkuBeingCounted,
    SkuNotFound,
    SkuNotInStocktake,
    StockAboveLimit,
    StockBelowZero,
    StocktakeClosed,
    StocktakeEmpty,
    StocktakeNotFound,
    StocktakeTooLarge,
)

Status = Literal["open", "approved", "cancelled"]
COUNTS_MAX = 1_000


class StocktakeIn(Body):
    """What to count: some SKUs, those whose code begins with prefix, or all of a location."""

    location: LocationCode = "main"
    skus: Annotated[list[SkuCode], Field(max_length=COUNTS_MAX)] = []
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    reference: Reference = ""


class CountedIn(Body):
    """How many units of a SKU somebody counted."""

    sku: SkuCode
    counted: Units


class CountsIn(Body):
    """What was counted; a SKU that is counted again has its newest count."""

    counts: Annotated[list[CountedIn], Field(min_length=1, max_length=COUNTS_MAX)]

    @model_validator(mode="after")
    def _counts_each_once(self) -> "CountsIn":
        if len({count.sku for count in self.counts}) < len(self.counts):
            raise ValueError("each SKU has one count")
        return self


class ApprovalIn(Body):
    """Every variance is right: book it."""

    note: Note = ""


class NothingIn(Body):
    """An empty object."""


class StocktakeQuery(BaseModel):
    """Which page of the stocktakes, newest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=100, description="At most this many entries.")] = 50
    cursor: Annotated[UUID, AFTER] | None = None
    status: Status | None = None


class StocktakeHead(BaseModel):
    """A stocktake without its lines."""

    id: UUID
    location: str
    status: Status
    reference: str
    opened_by: str
    closed_by: str
    created_at: datetime
    closed_at: datetime | None


class StocktakeLineOut(BaseModel):
    """
    One SKU. expected: on hand when the stocktake began; books: when its count came in.

    variance: counted less books; null before anybody counted.
    """

    sku: str
    expected: int
    books: int | None
    counted: int | None
    variance: int | None
    counted_by: str
    counted_at: datetime | None


class StocktakeOut(StocktakeHead):
    """A stocktake, its lines by SKU."""

    lines: list[StocktakeLineOut]


class StocktakePage(BaseModel):
    """Stocktakes, newest first."""

    data: list[StocktakeHead]
    next_cursor: str | None


OPEN = (*KEYED, StocktakeNotFound, StocktakeClosed)


class StocktakeViewSet(ViewSet):
    """People count while sales go on."""

    scopes = {
        "list": "stock:read",
        "retrieve": "stock:read",
        "create": "stock:write",
        "count": "stock:write",
        "approve": "stock:write",
        "cancel": "stock:write",
    }

    @extend_schema(
        operation_id="list_stocktakes",
        parameters=query_of(StocktakeQuery),
        responses={200: StocktakePage},
    )
    def list(self, request: Request) -> Response:
        """Return stocktakes without their lines, newest first."""
        query = StocktakeQuery.model_validate(request.query_params.dict())
        rows, next_id = usecases.list_stocktakes(
            status=query.status, before_id=query.cursor, limit=query.limit
        )
        data = [usecases.stocktake_head(row) for row in rows]
        return Response({"data": data, "next_cursor": next_id and str(next_id)})

    @extend_schema(
        operation_id="get_stocktake",
        responses={200: StocktakeOut},
        extensions={"x-refusals": (StocktakeNotFound,)},
    )
    def retrieve(self, request: Request, stocktake_id: UUID) -> Response:
        """Return one stocktake with its lines and variances."""
        return Response(usecases.read_stocktake(stocktake_id))

    @extend_schema(
        operation_id="open_stocktake",
        parameters=[LOCATION],
        request=StocktakeIn,
        responses={201: StocktakeOut},
        examples=[
            OpenApiExample("Two SKUs", {"skus": ["CUP", "22196"]}, request_only=True),
            OpenApiExample("An aisle", {"location": "annex", "prefix": "A1-"}, request_only=True),
        ],
        extensions={
            "x-refusals": (
                *(*KEYED, LocationNotFound, SkuNotFound, StocktakeEmpty),
                *(StocktakeTooLarge, SkuBeingCounted),
            )
        },
    )
    def create(self, request: Request) -> HttpResponse:
        """Begin to count."""
        body = StocktakeIn.model_validate(request.data)
        return told(
            usecases.open_stocktake(
                request=keyed(request),
                provenance=provenance_of(request),
                now=timezone.now(),
                **body.model_dump(),
            )
        )

    @extend_schema(
        operation_id="count_stocktake",
        request=CountsIn,
        responses={201: StocktakeOut},
        examples=[
            OpenApiExample("One", {"counts": [{"sku": "CUP", "counted": 97}]}, request_only=True)
        ],
        extensions={"x-refusals": (*OPEN, SkuNotInStocktake)},
    )
    def count(self, request: Request, stocktake_id: UUID) -> HttpResponse:
        """Note what was counted, against the books of this moment."""
        body = CountsIn.model_validate(request.data)
        return told(
            usecases.count_lines(
                request=keyed(request),
                stocktake_id=stocktake_id,
                counted={count.sku: count.counted for count in body.counts},
                provenance=provenance_of(request),
                now=timezone.now(),
            )
        )

    @extend_schema(
        operation_id="approve_stocktake",
        request=ApprovalIn,
        responses={201: StocktakeOut},
        examples=[OpenApiExample("Booked", {"note": "second count agrees"}, request_only=True)],
        extensions={"x-refusals": (*OPEN, StockBelowZero, StockAboveLimit)},
    )
    def approve(self, request: Request, stocktake_id: UUID) -> HttpResponse:
        """Book every variance."""
        body = ApprovalIn.model_validate(request.data)
        return told(
            usecases.approve_stocktake(
                request=keyed(request),
                stocktake_id=stocktake_id,
                note=body.note,
                provenance=provenance_of(request),
                now=timezone.now(),
            )
        )

    @extend_schema(
        operation_id="cancel_stocktake",
        request=NothingIn,
        responses={201: StocktakeOut},
        examples=[OpenApiExample("Given up", {}, request_only=True)],
        extensions={"x-refusals": OPEN},
    )
    def cancel(self, request: Request, stocktake_id: UUID) -> HttpResponse:
        """Close a stocktake and book nothing."""
        NothingIn.model_validate(request.data)
        return told(
            usecases.cancel_stocktake(
                request=keyed(request),
                stocktake_id=stocktake_id,
                provenance=provenance_of(request),
                now=timezone.now(),
            )
        )

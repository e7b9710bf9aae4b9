"""SKUs and stock over HTTP."""

from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from inventory import usecases
from inventory.api import schema
from inventory.api.requests import keyed, provenance_of, told
from inventory.api.serializers import (
    AdjustmentIn,
    AvailabilityIn,
    CountIn,
    MovementQuery,
    PageQuery,
    PolicyChange,
    QuarantineIn,
    ReceiptIn,
    SkuChange,
    SkuIn,
    StockQuery,
    availability_document,
    level_document,
    movement_document,
    sku_document,
    stock_document,
)


class SkuViewSet(ViewSet):
    """What is sold."""

    scopes = {
        "list": "stock:read",
        "retrieve": "stock:read",
        "create": "stock:write",
        "partial_update": "stock:write",
    }

    @schema.list_skus
    def list(self, request: Request) -> Response:
        """Return SKUs by code."""
        query = PageQuery.model_validate(request.query_params.dict())
        skus, next_cursor = usecases.list_skus(after=query.cursor or "", limit=query.limit)
        return Response({"data": [sku_document(sku) for sku in skus], "next_cursor": next_cursor})

    @schema.create_sku
    def create(self, request: Request) -> Response:
        """Add a SKU, with no stock."""
        body = SkuIn.model_validate(request.data)
        sku = usecases.create_sku(**body.model_dump())
        return Response(
            sku_document(sku), status=201, headers={"Location": f"/api/v1/skus/{sku.code}"}
        )

    @schema.get_sku
    def retrieve(self, request: Request, code: str) -> Response:
        """Return one SKU."""
        return Response(sku_document(usecases.get_sku(code)))

    @schema.update_sku
    def partial_update(self, request: Request, code: str) -> Response:
        """Change some members of a SKU. Orders placed before keep their prices."""
        body = SkuChange.model_validate(request.data)
        return Response(
            sku_document(usecases.update_sku(code, **body.model_dump(exclude_unset=True)))
        )


class StockViewSet(ViewSet):
    """What is there, and every movement that made it so."""

    scopes = {
        "list": "stock:read",
        "retrieve": "stock:read",
        "movements": "stock:read",
        "availability": "stock:read",
        "receive": "stock:write",
        "adjust": "stock:write",
        "count": "stock:write",
        "quarantine": "stock:write",
        "set_policy": "stock:write",
    }

    @schema.list_stock
    def list(self, request: Request) -> Response:
        """Return the stock of tracked SKUs, by code; those low or short with a state."""
        query = StockQuery.model_validate(request.query_params.dict())
        now = timezone.now()
        skus, next_cursor = usecases.list_stock(
            after=query.cursor or "",
            limit=query.limit,
            state=query.state,
            location=query.location,
        )
        data = [stock_document(sku, sku.levels.all(), now=now) for sku in skus]
        return Response({"data": data, "next_cursor": next_cursor})

    @schema.get_stock
    def retrieve(self, request: Request, code: str) -> Response:
        """Return one SKU's stock."""
        sku = usecases.get_stock(code)
        return Response(stock_document(sku, sku.levels.all(), now=timezone.now()))

    @schema.list_stock_movements
    def movements(self, request: Request, code: str) -> Response:
        """Return one SKU's ledger at one location, newest first."""
        query = MovementQuery.model_validate(request.query_params.dict())
        rows, next_cursor = usecases.list_movements(
            code,
            location=query.location,
            before_version=int(query.cursor) if query.cursor else None,
            limit=query.limit,
        )
        data = [movement_document(row) for row in rows]
        return Response({"data": data, "next_cursor": next_cursor})

    @schema.check_availability
    def availability(self, request: Request) -> Response:
        """Return what can be ordered now of many SKUs, in the order asked for."""
        body = AvailabilityIn.model_validate(request.data)
        now = timezone.now()
        found = usecases.read_availability(body.skus, now=now)
        data = [availability_document(code, found.get(code)) for code in body.skus]
        oldest = min((availability.as_of for availability in found.values()), default=now)
        return Response({"data": data, "as_of": oldest})

    @schema.receive_stock
    def receive(self, request: Request, code: str) -> HttpResponse:
        """Add units that came in."""
        body = ReceiptIn.model_validate(request.data)
        answer = usecases.receive_stock(
            request=keyed(request),
            sku=code,
            quantity=body.quantity,
            location=body.location,
            reference=body.reference,
            note=body.note,
            provenance=provenance_of(request),
            now=timezone.now(),
        )
        return told(answer)

    @schema.adjust_stock
    def adjust(self, request: Request, code: str) -> HttpResponse:
        """Correct the units on hand, by a delta or to a number."""
        body = AdjustmentIn.model_validate(request.data)
        correction: dict[str, Any] = {
            "request": keyed(request),
            "sku": code,
            "reason": body.reason,
            "note": body.note,
            "location": body.location,
            "provenance": provenance_of(request),
            "now": timezone.now(),
        }
        if body.delta is not None:
            return told(usecases.adjust_stock(delta=body.delta, **correction))
        return told(
            usecases.set_stock(
                on_hand=body.on_hand or 0,
                expected_on_hand=body.expected_on_hand or 0,
                **correction,
            )
        )

    @schema.count_stock
    def count(self, request: Request, code: str) -> HttpResponse:
        """Set the units on hand to what was counted."""
        body = CountIn.model_validate(request.data)
        return told(
            usecases.count_stock(
                request=keyed(request),
                sku=code,
                provenance=provenance_of(request),
                now=timezone.now(),
                **body.model_dump(),
            )
        )

    @schema.quarantine_stock
    def quarantine(self, request: Request, code: str) -> HttpResponse:
        """Put units into quarantine, or take them out of it."""
        body = QuarantineIn.model_validate(request.data)
        return told(
            usecases.quarantine_stock(
                request=keyed(request),
                sku=code,
                provenance=provenance_of(request),
                now=timezone.now(),
                **body.model_dump(),
            )
        )

    @schema.set_stock_policy
    def set_policy(self, request: Request, code: str, location: str) -> Response:
        """Set what a level keeps back, when it is low, and how much may be waited for."""
        body = PolicyChange.model_validate(request.data)
        level = usecases.set_policy(
            code,
            location=location,
            provenance=provenance_of(request),
            now=timezone.now(),
            **body.model_dump(exclude_unset=True),
        )
        return Response(level_document(level))

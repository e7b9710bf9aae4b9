"""The life of an order over HTTP: every change answers with the order as it is after it."""

from uuid import UUID

from django.http import HttpResponse
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from orders import usecases
from orders.api import schema
from orders.api.change_serializers import (
    CancelIn,
    FulfillmentIn,
    NoteIn,
    PaymentIn,
    ReturnIn,
)
from orders.api.requests import account_seen, keyed, provenance_of, told
from orders.api.serializers import EventQuery
from orders.documents import instant, versions_of
from orders.usecases import ChangeRequest


class ChangeViewSet(ViewSet):
    """What becomes of an order."""

    scopes = {
        "cancel": "orders:write",
        "pay": "orders:write",
        "fulfill": "orders:write",
        "take_back": "orders:write",
        "note": "orders:write",
        "notes": "orders:read",
    }

    @schema.cancel_order
    def cancel(self, request: Request, order_id: UUID) -> HttpResponse:
        """Cancel an order, or some of its units."""
        body = CancelIn.model_validate(request.data)
        asked = _asked(request, order_id)
        return told(usecases.cancel_order(asked, cuts=body.cuts(), reason=body.reason))

    @schema.record_payment
    def pay(self, request: Request, order_id: UUID) -> HttpResponse:
        """Record what a provider of payments says happened."""
        body = PaymentIn.model_validate(request.data)
        return told(usecases.record_payment(_asked(request, order_id), payment=body.payment()))

    @schema.fulfill_order
    def fulfill(self, request: Request, order_id: UUID) -> HttpResponse:
        """Send an order, or some of its units."""
        body = FulfillmentIn.model_validate(request.data)
        return told(
            usecases.fulfill_order(
                _asked(request, order_id), picks=body.picks(), reference=body.reference or ""
            )
        )

    @schema.return_units
    def take_back(self, request: Request, order_id: UUID) -> HttpResponse:
        """Take back units that were sent."""
        body = ReturnIn.model_validate(request.data)
        asked = _asked(request, order_id)
        return told(usecases.return_units(asked, comebacks=body.comebacks(), reason=body.reason))

    @schema.add_note
    def note(self, request: Request, order_id: UUID) -> HttpResponse:
        """Write something down about an order, and settle what asked for attention."""
        body = NoteIn.model_validate(request.data)
        return told(usecases.add_note(_asked(request, order_id), **body.model_dump()))

    @schema.list_notes
    def notes(self, request: Request, order_id: UUID) -> Response:
        """Return an order's notes, first to last."""
        query = EventQuery.model_validate(request.query_params.dict())
        notes, next_version = usecases.list_notes(
            order_id,
            account_id=account_seen(request),
            after_version=int(query.cursor or 0),
            limit=query.limit,
        )
        data = [
            {
                "version": note.order_version,
                "author": note.author,
                "text": note.text,
                "written_at": instant(note.written_at),
            }
            for note in notes
        ]
        return Response(
            {"data": data, "next_cursor": None if next_version is None else str(next_version)}
        )


def _asked(request: Request, order_id: UUID) -> ChangeRequest:
    return ChangeRequest(
        order_id=order_id,
        account_id=account_seen(request),
        request=keyed(
            request,
            request.headers.get("Idempotency-Key"),
            method=str(request.method),
            route=request.path,
            body=request.data,
        ),
        provenance=provenance_of(request),
        now=timezone.now(),
        versions=versions_of(request.headers.get("If-Match")),
    )

"""Holds over HTTP."""

from uuid import UUID

from django.http import HttpResponse
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from inventory import usecases
from inventory.api import hold_schema as schema
from inventory.api.hold_serializers import ExtensionIn, HoldIn, HoldQuery, ReleaseIn
from inventory.api.requests import account_seen, expected_versions, keyed, provenance_of, told
from inventory.usecases import HoldFilter, HoldLine


class HoldViewSet(ViewSet):
    """Units that the calling account has kept for it."""

    scopes = {
        "create": "orders:write",
        "extend": "orders:write",
        "release": "orders:write",
        "list": "orders:read",
        "retrieve": "orders:read",
    }

    @schema.place_hold
    def create(self, request: Request) -> HttpResponse:
        """Keep units until a deadline, all of them or none."""
        body = HoldIn.model_validate(request.data)
        return told(
            usecases.place_hold(
                request=keyed(request),
                lines=[HoldLine(line.sku, line.quantity) for line in body.lines],
                expires_in_s=body.expires_in_s,
                reference=body.reference or "",
                provenance=provenance_of(request),
                now=timezone.now(),
            )
        )

    @schema.list_holds
    def list(self, request: Request) -> Response:
        """Return holds, newest first."""
        query = HoldQuery.model_validate(request.query_params.dict())
        holds, next_id = usecases.list_holds(
            account_id=account_seen(request),
            where=HoldFilter(state=query.state, reference=query.reference, sku=query.sku),
            before_id=UUID(query.cursor) if query.cursor else None,
            limit=query.limit,
        )
        data = [usecases.hold_document(hold) for hold in holds]
        return Response({"data": data, "next_cursor": str(next_id) if next_id else None})

    @schema.get_hold
    def retrieve(self, request: Request, hold_id: UUID) -> Response:
        """Return one hold."""
        hold = usecases.get_hold(hold_id, account_id=account_seen(request))
        return Response(usecases.hold_document(hold), headers={"ETag": f'"{hold.version}"'})

    @schema.extend_hold
    def extend(self, request: Request, hold_id: UUID) -> HttpResponse:
        """Move the deadline of a live hold further away."""
        body = ExtensionIn.model_validate(request.data)
        return told(
            usecases.extend_hold(
                hold_id,
                request=keyed(request),
                expires_in_s=body.expires_in_s,
                now=timezone.now(),
                expected_versions=expected_versions(request),
            )
        )

    @schema.release_hold
    def release(self, request: Request, hold_id: UUID) -> HttpResponse:
        """Give back at once what a live hold keeps."""
        ReleaseIn.model_validate(request.data)
        return told(
            usecases.release_hold(
                hold_id,
                request=keyed(request),
                provenance=provenance_of(request),
                now=timezone.now(),
                expected_versions=expected_versions(request),
            )
        )

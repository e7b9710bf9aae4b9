"""Orders over HTTP."""

from typing import Any
from uuid import UUID

import orjson
from django.http import HttpResponse
from django.utils import timezone
from pydantic import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from config.calls import ApiAnswer
from events.usecases import Answer, EventsError, KeyedRequest
from orders import usecases
from orders.api import schema
from orders.api.requests import account_seen, keyed, provenance_of, told
from orders.api.serializers import (
    BulkIn,
    BulkOrderIn,
    EventQuery,
    OrderIn,
    OrderQuery,
    cursor_of,
    id_of_cursor,
)
from orders.documents import instant, stored_document
from orders.usecases import OrderFilter, Placement

# One order of a bulk has the fingerprint of the request it would have been by itself.
PLACE_ROUTE = "/api/v1/orders"


class OrderViewSet(ViewSet):
    """Orders of the calling account."""

    scopes = {
        "create": "orders:write",
        "bulk": "orders:write",
        "list": "orders:read",
        "retrieve": "orders:read",
        "events": "orders:read",
    }
    # What most calls are: these keep nothing on self, and answer with an HttpResponse.
    lean = frozenset({"create", "retrieve"})

    @schema.place_order
    def create(self, request: Request) -> HttpResponse:
        """Take an order, or say precisely why not."""
        order = OrderIn.model_validate(request.data)
        key = request.META.get("HTTP_IDEMPOTENCY_KEY")
        answer = usecases.place_order(
            order.draft(),
            request=_keyed(request, key, request.data),
            provenance=provenance_of(request),
            now=timezone.now(),
        )
        return told(answer)

    @schema.place_orders
    def bulk(self, request: Request) -> HttpResponse:
        """Take many orders, each with a key of its own; one that is refused harms no other."""
        items = BulkIn.model_validate(request.data).orders
        read = [_read_item(request, item) for item in items]
        answers = iter(usecases.place_orders([p for p in read if isinstance(p, Placement)]))
        outcomes = [next(answers) if isinstance(p, Placement) else p for p in read]
        results = [
            self._result(item, outcome) for item, outcome in zip(items, outcomes, strict=True)
        ]
        return ApiAnswer(orjson.dumps({"data": results}))

    def _result(self, item: Any, outcome: Answer | Exception) -> dict[str, Any]:
        """Return what one order of a bulk is told: its answer, or its problem document."""
        key = item.get("idempotency_key") if isinstance(item, dict) else None
        result = {"idempotency_key": key if isinstance(key, str) else None}
        if isinstance(outcome, Answer):
            body = orjson.Fragment(outcome.body)
            return result | {
                "status": outcome.status,
                "is_replayed": outcome.is_replayed,
                "body": body,
            }
        problem = self.get_exception_handler()(outcome, self.get_exception_handler_context())
        return result | {
            "status": problem.status_code,
            "is_replayed": "Idempotent-Replayed" in problem.headers,
            "body": orjson.Fragment(problem.content),
        }

    @schema.list_orders
    def list(self, request: Request) -> Response:
        """Return orders, newest first."""
        query = OrderQuery.model_validate(request.query_params.dict())
        wanted = query.model_dump(exclude={"limit", "cursor"}, exclude_none=True)
        orders, next_id = usecases.list_orders(
            account_id=account_seen(request),
            where=OrderFilter(**wanted),
            before_id=id_of_cursor(query.cursor) if query.cursor else None,
            limit=query.limit,
        )
        return Response(
            {
                "data": [stored_document(order) for order in orders],
                "next_cursor": None if next_id is None else cursor_of(next_id),
            }
        )

    @schema.get_order
    def retrieve(self, request: Request, order_id: UUID) -> HttpResponse:
        """Return one order; `Cache-Control: no-cache` asks for it as it is at this moment."""
        order = usecases.read_order(
            order_id,
            account_id=account_seen(request),
            is_fresh="no-cache" in request.META.get("HTTP_CACHE_CONTROL", ""),
        )
        return ApiAnswer(order.body.encode(), headers={"ETag": order.etag})

    @schema.list_order_events
    def events(self, request: Request, order_id: UUID) -> Response:
        """Return an order's timeline, first to last."""
        query = EventQuery.model_validate(request.query_params.dict())
        events, next_version = usecases.list_timeline(
            order_id,
            account_id=account_seen(request),
            after_version=int(query.cursor or 0),
            limit=query.limit,
        )
        data = [
            {
                "id": str(event.pk),
                "type": event.type,
                "version": event.aggregate_version,
                "data": event.data,
                "occurred_at": instant(event.occurred_at),
            }
            for event in events
        ]
        return Response(
            {"data": data, "next_cursor": None if next_version is None else str(next_version)}
        )


def _read_item(request: Request, item: Any) -> Placement | Exception:
    try:
        order = BulkOrderIn.model_validate(item)
        body = {name: value for name, value in item.items() if name != "idempotency_key"}
        return Placement(
            order.draft(),
            _keyed(request, order.idempotency_key, body),
            provenance_of(request),
            timezone.now(),
        )
    except (ValidationError, EventsError) as refusal:
        # Told and not raised: with its frames it would hold all of this call, which holds it.
        return refusal.with_traceback(None)


def _keyed(request: Request, key: str | None, body: Any) -> KeyedRequest:
    return keyed(request, key, method="POST", route=PLACE_ROUTE, body=body)

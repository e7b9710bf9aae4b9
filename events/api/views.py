"""Events over HTTP."""

from typing import Any, cast
from uuid import UUID

import orjson
from django.conf import settings
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from events import endpoints, feed
from events.api import schema
from events.api.serializers import (
    DeliveryQuery,
    EndpointChange,
    EndpointIn,
    FeedQuery,
    PingIn,
    ReplayIn,
    RotationIn,
    delivery_document,
    endpoint_document,
)
from events.rules import Audience


class EventViewSet(ViewSet):
    """What happened, for whoever comes and asks."""

    scopes = {"list": "events:read"}

    @schema.read_feed
    def list(self, request: Request) -> HttpResponse:
        """
        Return what happened after a cursor, oldest first.

        An account sees what happened to its own orders; what happens to stock is seen with the
        scope that reads stock, and other accounts' events with the one that reaches all orders.
        """
        query = FeedQuery.model_validate(request.query_params.dict())
        page = feed.read_feed(
            audience=audience_of(request),
            after=query.after or "",
            types=query.wanted_types,
            limit=query.limit,
        )
        body = {
            "data": [orjson.Fragment(envelope) for envelope in page.envelopes],
            "cursor": page.cursor,
            "has_more": page.has_more,
            "held_back": {"events": page.held_back_events, "age_s": page.held_back_s},
        }
        return HttpResponse(orjson.dumps(body), content_type="application/json")


class WebhookViewSet(ViewSet):
    """Where the calling account is told of events."""

    scopes = {
        "list": "events:read",
        "retrieve": "events:read",
        "deliveries": "events:read",
        "create": "events:write",
        "partial_update": "events:write",
        "destroy": "events:write",
        "rotate_secret": "events:write",
        "test": "events:write",
        "replay": "events:write",
    }

    @schema.list_webhooks
    def list(self, request: Request) -> Response:
        """Return every endpoint of the account, oldest first."""
        found = endpoints.list_endpoints(_account(request))
        return Response({"data": [endpoint_document(e) for e in found], "next_cursor": None})

    @schema.create_webhook
    def create(self, request: Request) -> Response:
        """Add an endpoint; its secret is told this once."""
        body = EndpointIn.model_validate(request.data)
        endpoint, secret = endpoints.create_endpoint(
            audience=audience_of(request), **body.model_dump(), now=timezone.now()
        )
        return Response(
            endpoint_document(endpoint) | {"secret": secret},
            status=201,
            headers={"Location": f"/api/v1/webhooks/{endpoint.pk}"},
        )

    @schema.get_webhook
    def retrieve(self, request: Request, webhook_id: UUID) -> Response:
        """Return one endpoint."""
        endpoint = endpoints.get_endpoint(webhook_id, account_id=_account(request))
        return Response(endpoint_document(endpoint))

    @schema.update_webhook
    def partial_update(self, request: Request, webhook_id: UUID) -> Response:
        """Change an endpoint, or enable it again: it goes on with what was left undone."""
        body = EndpointChange.model_validate(request.data)
        endpoint = endpoints.update_endpoint(
            webhook_id, audience=audience_of(request), now=timezone.now(), **body.changes()
        )
        return Response(endpoint_document(endpoint))

    @schema.delete_webhook
    def destroy(self, request: Request, webhook_id: UUID) -> Response:
        """Take an endpoint away; nothing is sent to it any more."""
        endpoints.delete_endpoint(webhook_id, account_id=_account(request), now=timezone.now())
        return Response(status=204)

    @schema.rotate_secret
    def rotate_secret(self, request: Request, webhook_id: UUID) -> Response:
        """Give an endpoint a new secret, told this once; the former one signs too for a while."""
        body = RotationIn.model_validate(request.data)
        endpoint, secret = endpoints.rotate_secret(
            webhook_id,
            account_id=_account(request),
            overlap_hours=body.overlap_hours,
            now=timezone.now(),
        )
        return Response(endpoint_document(endpoint) | {"secret": secret})

    @schema.test_webhook
    def test(self, request: Request, webhook_id: UUID) -> Response:
        """Send an event of type webhook.test, as any other is sent."""
        PingIn.model_validate(request.data)
        event_id = endpoints.ping_endpoint(
            webhook_id, account_id=_account(request), now=timezone.now()
        )
        return Response({"event_id": str(event_id)}, status=202)

    @schema.list_deliveries
    def deliveries(self, request: Request, webhook_id: UUID) -> Response:
        """Return what was sent, is being sent or could not be sent, newest first."""
        query = DeliveryQuery.model_validate(request.query_params.dict())
        told, next_id = endpoints.list_deliveries(
            webhook_id,
            account_id=_account(request),
            state=query.state or "",
            before_id=int(query.cursor) if query.cursor else None,
            limit=query.limit,
        )
        return Response(
            {
                "data": [delivery_document(delivery, event) for delivery, event in told],
                "next_cursor": None if next_id is None else str(next_id),
            }
        )

    @schema.replay_webhook
    def replay(self, request: Request, webhook_id: UUID) -> Response:
        """
        Deliver again: the dead letters, or all that was recorded in a range of time.

        At most 10,000 at once. What is told again may come after later events of its subject.
        """
        body = ReplayIn.model_validate(request.data)
        if body.since is None:
            replayed = endpoints.replay_dead(webhook_id, account_id=_account(request))
        else:
            replayed = endpoints.replay_range(
                webhook_id,
                account_id=_account(request),
                since=body.since,
                until=body.until or timezone.now(),
            )
        return Response(
            {
                "deliveries": replayed.deliveries,
                "has_more": replayed.has_more,
                "goes_on_at": replayed.goes_on_at,
            },
            status=202,
        )


def _account(request: Request) -> int:
    return cast(int, request.user.pk)


def audience_of(request: Request) -> Audience:
    """Return whose events the caller's key opens."""
    grant = cast(Any, request.auth)
    return Audience(
        _account(request),
        sees_shared=grant.has(settings.EVENTS_SHARED_SCOPE),
        sees_all=grant.has(settings.EVENTS_ALL_SCOPE),
    )

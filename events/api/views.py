"""Events over HTTP."""

from typing import Any, cast

import orjson
from django.conf import settings
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet

from events import feed
from events.api import schema
from events.api.serializers import FeedQuery
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


def audience_of(request: Request) -> Audience:
    """Return whose events the caller's key opens."""
    grant = cast(Any, request.auth)
    return Audience(
        cast(int, request.user.pk),
        sees_shared=grant.has(settings.EVENTS_SHARED_SCOPE),
        sees_all=grant.has(settings.EVENTS_ALL_SCOPE),
    )

"""What every call of inventory has: a key, a caller, an answer that was kept."""

import re
from typing import Any, cast

import orjson
from django.http import HttpResponse
from rest_framework.request import Request

from events.usecases import Answer, KeyedRequest, keyed_request
from inventory.usecases import Provenance


def keyed(request: Request) -> KeyedRequest:
    """Return the keyed request that a call is; raises what keyed_request raises."""
    return keyed_request(
        account_id=cast(int, request.user.pk),
        header=request.headers.get("Idempotency-Key"),
        method=str(request.method),
        route=request.path,
        canonical_body=orjson.dumps(request.data, option=orjson.OPT_SORT_KEYS),
        request_id=getattr(request, "request_id", ""),
        trace_id=getattr(request, "trace_id", ""),
    )


def provenance_of(request: Request) -> Provenance:
    """Return who changes stock by this call."""
    return Provenance(
        actor=request.user.get_username(),
        source="api",
        trace_id=getattr(request, "trace_id", ""),
    )


def told(answer: Answer) -> HttpResponse:
    """Return an answer as it was kept."""
    return HttpResponse(
        answer.body,
        status=answer.status,
        headers=answer.headers(),
        content_type="application/json",
    )


def account_seen(request: Request) -> int | None:
    """Return whose holds the caller sees: its own, or everybody's (None)."""
    sees_all = cast(Any, request.auth).has("orders:all")
    return None if sees_all else cast(int, request.user.pk)


def expected_versions(request: Request) -> tuple[int, ...] | None:
    """
    Return the versions that If-Match asks for, None when any will do.

    What is no ETag of ours matches nothing, so it is refused like a stale one.
    """
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return None
    return tuple(
        int(found[1])
        for tag in header.split(",")
        if (found := re.fullmatch(r'"([0-9]{1,9})"', tag.strip(), re.ASCII))
    )

"""What every call of orders has: a key, a caller, an answer that was kept."""

from typing import Any, cast

import orjson
from rest_framework.request import Request

from config.calls import ApiAnswer
from events.usecases import Answer, KeyedRequest, keyed_request
from inventory.usecases import Provenance


def keyed(request: Request, key: str | None, *, method: str, route: str, body: Any) -> KeyedRequest:
    """
    Return the keyed request that a call, or one order of it, is; raises what keyed_request raises.

    method, route and body make its fingerprint.
    """
    asked = request._request  # Django's own: Request finds these by __getattr__ only.
    return keyed_request(
        account_id=cast(int, request.user.pk),
        header=key,
        method=method,
        route=route,
        canonical_body=orjson.dumps(body, option=orjson.OPT_SORT_KEYS),
        request_id=getattr(asked, "request_id", ""),
        trace_id=getattr(asked, "trace_id", ""),
    )


def provenance_of(request: Request) -> Provenance:
    """Return who calls, for the ledger."""
    return Provenance(
        actor=request.user.get_username(),
        source="api",
        trace_id=getattr(request._request, "trace_id", ""),
    )


def account_seen(request: Request) -> int | None:
    """Return whose orders the caller sees: its own, or everybody's."""
    sees_all = cast(Any, request.auth).has("orders:all")
    return None if sees_all else cast(int, request.user.pk)


def told(answer: Answer) -> ApiAnswer:
    """Return an answer as it was kept."""
    return ApiAnswer(answer.body.encode(), status=answer.status, headers=answer.headers())

"""
One line for each request that was answered.

What the caller sent stays out of it: no body, no query, no address, no key.
"""

import hashlib
import sys
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from config.logs import as_json, written_as


class RequestLog:
    """Writes the line past logging and structlog, whose ways cost as much as a small view."""

    def __init__(self, style: str) -> None:
        # A request's line has no exception to format and no words of PostgreSQL to hide.
        self._steps = [as_json] if style == "json" else written_as(style)

    def tell(self, request: HttpRequest, response: HttpResponseBase, *, seconds: float) -> None:
        """Write the line of a request that took so long."""
        line: Any = {
            "duration_ms": round(seconds * 1000, 2),
            **line_of(request, response),
            "message": "request",
            "time": f"{datetime.now(UTC).isoformat(timespec='microseconds')[:-6]}Z",
        }
        for step in self._steps:
            line = step(None, "info", line)
        # Whatever stderr is now: not what it was at the start.
        sys.stderr.write(f"{line}\n")


def line_of(request: Any, response: HttpResponseBase) -> dict[str, Any]:
    """
    Return what a request's line says.

    The route is the template, without the ids in it. Looks at nobody's session: only who has been
    identified is named.
    """
    match = request.resolver_match
    line: dict[str, Any] = {
        "level": "info",
        "logger": "request",
        "method": request.method,
        "route": match.route if match is not None else None,
        "status": response.status_code,
        "request_id": request.request_id,
        "trace_id": request.trace_id,
    }
    known = request.__dict__
    if "auth" in known and known["auth"] is not None:
        line["account_id"] = request.user.pk
    elif "_cached_user" in known:
        line["user_id"] = known["_cached_user"].pk
    if match is not None and "order_id" in match.kwargs:
        line["order_id"] = str(match.kwargs["order_id"])
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None:
        line["idempotency_key_sha256"] = hashlib.sha256(key.encode()).hexdigest()[:16]
    code = getattr(response, "problem_code", None)
    if code is not None:
        line["code"] = code
    rollout = known.get("rollout")
    if rollout is not None and rollout.served:
        line["served"] = {path: one.version for path, one in rollout.served.items()}
        line["generation"] = rollout.snapshot.generation
    return line

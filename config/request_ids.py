"""The names of a request: the id that its caller and our logs share, and its trace."""

import random
import re
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# https://www.w3.org/TR/trace-context/#traceparent-header-field-values: ids of zeros are invalid.
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace_id>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)

OUTSIDE: Mapping[str, str] = MappingProxyType({})

# Each greenlet and thread has its own value.
_ids: ContextVar[Mapping[str, str]] = ContextVar("request_ids", default=OUTSIDE)


def current_ids() -> Mapping[str, str]:
    """Return request_id and trace_id of the request that this greenlet or thread serves."""
    return _ids.get()


def current_request_id() -> str:
    """Return the id of the request that this greenlet or thread serves, "-" outside of one."""
    return _ids.get().get("request_id", "-")


def bind_request_id(request_id: str, *, trace_id: str = "") -> None:
    """Make these the current ids, until they are replaced or forgotten."""
    _ids.set({"request_id": request_id, "trace_id": trace_id})


def forget_request_id() -> None:
    """Return to "no request": keep-alive serves the next request in the same greenlet."""
    _ids.set(OUTSIDE)


def adopt_trace(request: Any, *, trace_id: str, traceresponse: str) -> None:
    """
    Give a request the trace that OpenTelemetry put it in, and its id if it has no other.

    traceresponse: the header by which the caller is told.
    """
    if request.request_id == request.trace_id:
        request.request_id = trace_id
    request.trace_id = trace_id
    request.traceresponse = traceresponse
    bind_request_id(request.request_id, trace_id=trace_id)


def trace_id_from(traceparent: str | None) -> str:
    """Return the trace that a W3C traceparent names, or a fresh one without a valid one."""
    if traceparent is not None:
        # Versions after 00 may append fields: only the first 55 characters are ours to read.
        match = TRACEPARENT.fullmatch(traceparent[:55])
        if match and (len(traceparent) == 55 or _is_longer_version(traceparent)):
            return match["trace_id"]
    return f"{random.getrandbits(128):032x}"  # Told to everybody: it need not be hard to guess.


def request_id_from(wish: str | None, *, trace_id: str) -> str:
    """
    Return the caller's wish when it is 1 to 64 of A-Z a-z 0-9 . _ -, otherwise the trace id.

    Anything else could forge a line of a log or a header.
    """
    if wish is not None and REQUEST_ID.fullmatch(wish):
        return wish
    return trace_id


def _is_longer_version(traceparent: str) -> bool:
    return not traceparent.startswith("00") and traceparent[55] == "-"

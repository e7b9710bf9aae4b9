"""Every refusal as one shape, application/problem+json (RFC 9457), and the one table to HTTP."""

import json
import logging
import math
import random
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

import orjson
import pydantic
from django.conf import settings
from django.core import exceptions as django_exceptions
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.encoding import escape_uri_path
from django.views import defaults
from psycopg import errors as postgres
from rest_framework import exceptions as drf_exceptions
from rest_framework.views import APIView

from config import errors
from config.calls import ApiAnswer
from config.metrics import refusals_with

logger = logging.getLogger(__name__)

STATUS_BY_KIND = {
    "malformed": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "method": 405,
    "timeout": 408,
    "conflict": 409,
    "length": 411,
    "precondition": 412,
    "too_large": 413,
    "media_type": 415,
    "invalid": 422,
    "too_many": 429,
    "internal": 500,
    "unavailable": 503,
}
REFUSAL_BY_STATUS: Mapping[int, type[errors.AppError]] = {
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    415: errors.UnsupportedMediaType,
    429: errors.TooManyRequests,
    503: errors.TemporarilyUnavailable,
}
REFUSAL_BY_DRF_EXCEPTION: Mapping[type[Exception], type[errors.AppError]] = {
    drf_exceptions.ParseError: errors.MalformedRequest,
    drf_exceptions.NotAuthenticated: errors.Unauthenticated,
    drf_exceptions.AuthenticationFailed: errors.Unauthenticated,
    drf_exceptions.PermissionDenied: errors.Forbidden,
    drf_exceptions.NotFound: errors.NotFound,
    drf_exceptions.MethodNotAllowed: errors.MethodNotAllowed,
    drf_exceptions.UnsupportedMediaType: errors.UnsupportedMediaType,
}
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]*")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# What PostgreSQL says when it is busy, away or full; everything else it says is our bug.
BUSY_OR_AWAY = (
    postgres.LockNotAvailable,  # 55P03
    postgres.QueryCanceled,  # 57014, statement_timeout
    postgres.DeadlockDetected,  # 40P01
    postgres.SerializationFailure,  # 40001
    postgres.ReadOnlySqlTransaction,  # 25006, a standby or a failover under way
    postgres.IdleInTransactionSessionTimeout,  # 25P03
    postgres.TransactionTimeout,  # 25P04
)


def exception_handler(failure: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """Answer whatever a view of Django REST framework raised. Named in settings."""
    request = getattr(context["request"], "_request", context["request"])
    return answer_to(failure, request, is_begun=not _came_before_verb(failure))


def answer_to(failure: BaseException, request: HttpRequest, *, is_begun: bool) -> HttpResponse:
    """Answer a failure of a view, and log it where it is a bug. is_begun: see refusal_of."""
    refusal = refusal_of(failure, method=str(request.method), is_begun=is_begun)
    if refusal.kind == "internal":
        log_bug(request, failure)
    return problem_response(request, refusal)


def refusal_of(failure: BaseException, *, method: str, is_begun: bool = True) -> Any:
    """
    Return the refusal that tells a failure to the caller; a refusal returns as it is.

    Any exception with code, kind, retryable and facts is a refusal: apps that could be lifted
    out have a base of their own. is_begun: whether the verb's own code has started.

    Database trouble that nobody wrapped: the verb may have committed before it came, so a verb
    that writes answers outcome_unknown. Use cases that know the phase raise what they know.
    """
    if is_refusal(failure):
        return failure
    is_harmless = method in SAFE_METHODS or not is_begun
    if is_database_trouble(failure):
        if is_harmless:
            return errors.TemporarilyUnavailable("The database is away or busy")
        return errors.OutcomeUnknown("The database went away: ask again with the same key")
    for translate in (_from_pydantic, _from_drf, _from_django):
        refusal = translate(failure)
        if refusal is not None:
            return refusal
    return _bug(is_harmless=is_harmless)


def refusal_of_status(status: int, *, method: str) -> errors.AppError:
    """Return the refusal that tells a bare status, for answers that others made."""
    if status >= 500 and status != 503:
        return _bug(is_harmless=method in SAFE_METHODS)
    return REFUSAL_BY_STATUS.get(status, errors.MalformedRequest)(HTTPStatus(status).phrase)


def is_refusal(failure: BaseException | type[BaseException]) -> bool:
    """Test whether a failure carries what a problem needs."""
    return all(hasattr(failure, name) for name in ("code", "kind", "retryable", "facts"))


def is_database_trouble(failure: BaseException) -> bool:
    """
    Test whether PostgreSQL, or the way to it, is busy, away, full or read-only.

    A constraint, a wrong statement or a wrong value is a bug and not this.
    """
    cause = failure.__cause__ or failure
    if isinstance(cause, BUSY_OR_AWAY):
        return True
    # The classes 08 connection, 53 resources, 57 operator, 58 system; the pool's own errors and
    # a connection that broke have no SQLSTATE and are OperationalError.
    return isinstance(failure, OperationalError | InterfaceError | postgres.OperationalError)


def problem_response(request: HttpRequest, refusal: Any) -> HttpResponse:
    """
    Return the answer that tells a refusal.

    Works outside of Django REST framework, also where no middleware has run.
    """
    refusals_with(refusal.code).inc()
    status, headers, body = problem(request, refusal)
    response = ApiAnswer(body, status=status, headers=headers)
    # Refusals are normal trade, and bugs are logged where they are caught, with their trace.
    response._has_been_logged = True  # type: ignore[attr-defined]
    response.problem_code = refusal.code  # type: ignore[attr-defined]
    return response


def problem(request: HttpRequest, refusal: Any) -> tuple[int, dict[str, str], bytes]:
    """Return the status, the headers and the body that tell a refusal; who tells it counts it."""
    status = STATUS_BY_KIND[refusal.kind]
    headers = {"Content-Type": "application/problem+json", **getattr(refusal, "headers", {})}
    retry_after_s = getattr(refusal, "retry_after_s", None)
    if retry_after_s is None and refusal.kind in ("unavailable", "too_many"):
        retry_after_s = retry_in_s()
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    body = _dump(_members(request, refusal, status))
    # The length is said here because no other middleware may come to see this answer.
    headers["Content-Length"] = str(len(body))
    return status, headers, body


def retry_in_s() -> int:
    """Return after how long to ask again: not the same for all, who would come back together."""
    return 1 + int(3 * random.random())


# --- What Django calls outside of Django REST framework: named in config.urls ----------------


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400."""
    if is_for_people(request):
        return defaults.bad_request(request, exception)
    return problem_response(request, refusal_of(exception, method=str(request.method)))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403."""
    if is_for_people(request):
        return defaults.permission_denied(request, exception)
    return problem_response(request, refusal_of(exception, method=str(request.method)))


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404."""
    if is_for_people(request):
        return defaults.page_not_found(request, exception)
    return problem_response(request, refusal_of(exception, method=str(request.method)))


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer the exception under way, which nobody expected."""
    if is_for_people(request):
        return defaults.server_error(request)
    failure = sys.exception() or AssertionError("no exception is under way")
    refusal = refusal_of(failure, method=str(request.method))
    if refusal.kind == "internal":
        log_bug(request, failure)
    return problem_response(request, refusal)


def is_for_people(request: HttpRequest) -> bool:
    """Test whether a browser shows the answer as it comes: the pages of the back office."""
    return request.path_info.startswith("/admin/")


def log_bug(request: HttpRequest, failure: BaseException) -> None:
    """Log an unexpected failure with its trace; the ids come with every log line."""
    logger.error(
        "%s %s failed: %s",
        request.method,
        escape_uri_path(request.path),
        type(failure).__name__,
        exc_info=failure,
        extra={"request_id": getattr(request, "request_id", "-")},
    )


@cache
def title_of(code: str) -> str:
    """Return the words of a code: insufficient_stock is "Insufficient stock"."""
    return code.replace("_", " ").capitalize()


def _bug(*, is_harmless: bool) -> errors.InternalError:
    bug = errors.InternalError("This is a fault of the service; it has been logged")
    if is_harmless:
        bug.effect = "none"
    return bug


def _members(request: HttpRequest, refusal: Any, status: int) -> dict[str, Any]:
    members: dict[str, Any] = {
        "type": f"/api/errors/{refusal.code}",
        "title": title_of(refusal.code),
        "status": status,
        "detail": str(refusal) or title_of(refusal.code),
        "instance": _instance_of(request.path),
        "code": refusal.code,
        # A refusal that was kept is told again with the ids of the request that was refused.
        "trace_id": getattr(refusal, "trace_id", None) or getattr(request, "trace_id", None),
        "request_id": getattr(refusal, "request_id", None) or getattr(request, "request_id", None),
        "retryable": refusal.retryable,
        "effect": getattr(refusal, "effect", "none"),
        "errors": list(getattr(refusal, "errors", ())),
    }
    for name in refusal.facts:
        # A fact never hides a member that every problem has.
        members.setdefault(name, getattr(refusal, name))
    return members


def _instance_of(path: str) -> str:
    # As it is where nothing in it needs an escape: to look for one costs more than the rest.
    return path if PLAIN_PATH.fullmatch(path) else escape_uri_path(path)


def _dump(members: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(members, default=str, option=orjson.OPT_UTC_Z)
    except TypeError:
        # A fact that repeats what the caller sent may hold what orjson does not write: 10^30, or
        # half of a surrogate pair. A refusal is told all the same.
        return json.dumps(members, default=str, skipkeys=True).encode()


def _came_before_verb(failure: BaseException) -> bool:
    """Test whether a failure came while the caller was identified, before the verb's code ran."""
    trace = failure.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is APIView.initial.__code__:
            return True
        trace = trace.tb_next
    return False


# --- Exceptions of others -------------------------------------------------------------------

# What pydantic calls a fault, and what a caller is told; the rest is "invalid".
CODE_BY_PYDANTIC_TYPE = {
    "missing": "missing",
    "extra_forbidden": "unknown_member",
    "greater_than_equal": "too_small",
    "less_than_equal": "too_large",
    "string_too_short": "too_short",
    "string_too_long": "too_long",
    "string_pattern_mismatch": "wrong_format",
    "too_short": "too_few",
    "too_long": "too_many",
}
# pydantic's own words name the class that would have been read.
MESSAGE_BY_PYDANTIC_TYPE = {"model_type": "Input should be an object"}


def _from_pydantic(failure: BaseException) -> errors.AppError | None:
    if not isinstance(failure, pydantic.ValidationError):
        return None
    return errors.ValidationFailed(
        [
            {
                "pointer": "".join(f"/{_escape(str(part))}" for part in fault["loc"]),
                "code": _code_of_fault(fault["type"]),
                "message": MESSAGE_BY_PYDANTIC_TYPE.get(fault["type"], fault["msg"]),
            }
            for fault in failure.errors(include_url=False, include_input=False)
        ]
    )


def _code_of_fault(kind: str) -> str:
    if kind.endswith("_type"):
        return "wrong_type"
    return CODE_BY_PYDANTIC_TYPE.get(kind, "invalid")


def _from_drf(failure: BaseException) -> errors.AppError | None:
    if not isinstance(failure, drf_exceptions.APIException):
        return None
    if isinstance(failure, drf_exceptions.ValidationError):
        return errors.ValidationFailed(list(_flatten(failure.detail)))
    detail = str(failure.detail)
    if isinstance(failure, drf_exceptions.Throttled):
        limit = errors.TooManyRequests(detail)
        wait_s = getattr(failure, "wait", None)
        limit.retry_after_s = math.ceil(wait_s) if wait_s else None
        return limit
    for theirs, ours in REFUSAL_BY_DRF_EXCEPTION.items():
        if isinstance(failure, theirs):
            return ours(detail)
    return None


def _from_django(failure: BaseException) -> errors.AppError | None:
    match failure:
        case Http404():
            return errors.NotFound("Nothing is here")
        case django_exceptions.PermissionDenied():
            return errors.Forbidden("This is not allowed")
        case django_exceptions.RequestDataTooBig():
            return errors.BodyTooLarge(bytes_max=settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0)
        case django_exceptions.DisallowedHost():
            return errors.MalformedRequest("Host: not one that this service answers for")
        case (
            django_exceptions.BadRequest()
            | django_exceptions.SuspiciousOperation()
            | MultiPartParserError()
            | UnreadablePostError()
        ):
            return errors.MalformedRequest("The request could not be read")
    return None


def _flatten(detail: Any, pointer: str = "") -> Iterator[dict[str, str]]:
    """Yield DRF's tree of faults as one entry each, with a JSON Pointer (RFC 6901)."""
    if isinstance(detail, Mapping):
        for name, below in detail.items():
            here = "" if name == "non_field_errors" else f"/{_escape(str(name))}"
            yield from _flatten(below, pointer + here)
    elif isinstance(detail, list | tuple):
        for index, below in enumerate(detail):
            is_leaf = isinstance(below, str)
            yield from _flatten(below, pointer if is_leaf else f"{pointer}/{index}")
    else:
        code = getattr(detail, "code", "invalid")
        yield {"pointer": pointer, "code": code, "message": str(detail)}


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")

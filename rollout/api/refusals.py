"""How refusals are answered in a project whose exception handler does not know them."""

from collections.abc import Mapping
from typing import Any

import pydantic
from rest_framework.response import Response
from rest_framework.views import exception_handler

from rollout.errors import RolloutError

STATUS_BY_KIND: Mapping[str, int] = {
    "not_found": 404,
    "conflict": 409,
    "invalid": 422,
    "unavailable": 503,
}
INVALID_REQUEST = "validation_failed"


def answer_refusal(failure: Exception, context: dict[str, Any]) -> Response | None:
    """Answer what this app raises as a problem (RFC 9457), everything else as DRF does."""
    if isinstance(failure, pydantic.ValidationError):
        faults = failure.errors(include_url=False, include_input=False, include_context=False)
        errors = [
            {
                "pointer": "".join(f"/{part}" for part in fault["loc"]),
                "code": fault["type"],
                "message": fault["msg"],
            }
            for fault in faults
        ]
        detail = f"the request has {len(errors)} fault(s)"
        return _problem(422, code=INVALID_REQUEST, detail=detail, errors=errors)
    if not isinstance(failure, RolloutError):
        return exception_handler(failure, context)
    answer = _problem(
        STATUS_BY_KIND[failure.kind],
        code=failure.code,
        detail=str(failure),
        retryable=failure.retryable,
        effect=failure.effect,
        errors=list(failure.errors),
        **{name: getattr(failure, name) for name in failure.facts},
    )
    if failure.retry_after_s is not None:
        answer.headers["Retry-After"] = str(failure.retry_after_s)
    return answer


def _problem(status: int, *, code: str, **members: Any) -> Response:
    title = code.replace("_", " ").capitalize()
    return Response(
        {"type": "about:blank", "title": title, "status": status, "code": code, **members},
        status=status,
        content_type="application/problem+json",
    )

"""The OpenAPI document: what each view says of itself, and what is true of all of them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from drf_spectacular.openapi import AutoSchema

from config import errors
from config.catalogue import list_refusals
from config.problems import STATUS_BY_KIND, title_of

Fragment = dict[str, Any]

PROBLEM = "application/problem+json"
REFUSALS = "x-refusals"
# Whoever can miss a key reads one; the class itself belongs to an app.
KEY_MISSING = "idempotency_key_missing"
KEY_EXAMPLE = "0f9c2d1e-shop-1001"
TRACE_EXAMPLE = "4bf92f3577b34da6a3ce929d0e0e4736"

EVERYWHERE = (
    errors.MalformedRequest,
    errors.Unauthenticated,
    errors.Forbidden,
    errors.InternalError,
    errors.TemporarilyUnavailable,
)
ON_A_BODY = (
    errors.MalformedJson,
    errors.LengthRequired,
    errors.BodyTooLarge,
    errors.UnsupportedMediaType,
    errors.ValidationFailed,
)


class ApiSchema(AutoSchema):
    """
    What drf-spectacular reads from a view, and around it what every operation shares.

    A view names its own refusals as classes: extend_schema(extensions={"x-refusals": (…)}).
    Their codes, statuses and meanings are taken from the classes, so that they cannot drift.
    """

    def get_operation(self, *args: Any, **kwargs: Any) -> Fragment | None:
        operation: Fragment | None = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        refusals = [*self._common_refusals(operation), *operation.pop(REFUSALS, ())]
        is_keyed = any(refusal.code == KEY_MISSING for refusal in refusals)
        if "requestBody" in operation:
            operation["requestBody"]["required"] = True
        if is_keyed:
            operation.setdefault("parameters", []).append(_ref("parameters", "IdempotencyKey"))
        operation.setdefault("parameters", []).append(_ref("parameters", "RequestId"))
        for answer in operation["responses"].values():
            _say_headers(answer, is_keyed=is_keyed, is_busy=False)
        for status, told in _by_status(refusals):
            operation["responses"][str(status)] = problem_answer(told, is_keyed=is_keyed)
        return operation

    def get_summary(self) -> str:
        return super().get_description().split("\n", maxsplit=1)[0].rstrip(".")

    def get_description(self) -> str:  # type: ignore[override]
        description: str = super().get_description()
        return f"{description}\n\nScope: `{self._scope()}`."

    def get_tags(self) -> list[str]:
        return [self._tokenize_path()[0]]

    def get_auth(self) -> list[Fragment]:
        # OpenAPI 3.1 lets any scheme name the roles that it asks for.
        return [{"apiKey": [self._scope()]}]

    def _is_list_view(self, serializer: Any = None) -> bool:
        return False  # A page is an object with its entries in it, and is declared as such.

    def _process_override_parameters(self, direction: str = "request") -> Fragment:
        parameters: Fragment = super()._process_override_parameters(direction)  # type: ignore[no-untyped-call]
        for parameter in parameters.values():
            if parameter["in"] == "query":
                parameter["schema"] = _without_null(parameter["schema"])
        return parameters

    def _scope(self) -> str:
        action = getattr(self.view, "action", None) or self.method.lower()
        scopes: Mapping[str, str] = getattr(self.view, "scopes", {})
        return scopes[action]

    def _common_refusals(self, operation: Fragment) -> Iterator[type[errors.AppError]]:
        yield from EVERYWHERE
        if "requestBody" in operation:
            yield from ON_A_BODY
        elif any(parameter["in"] == "query" for parameter in operation.get("parameters", ())):
            yield errors.ValidationFailed
        if "{" in self.path:
            yield errors.NotFound
        if self.method not in ("GET", "HEAD"):
            yield errors.OutcomeUnknown


def problem_answer(refusals: Iterable[Any], *, is_keyed: bool = False) -> Fragment:
    """Return the description of an answer that tells one of some refusals of one status."""
    told = {refusal.code: refusal for refusal in refusals}
    answer: Fragment = {
        "description": "\n\n".join(f"`{code}`: {_meaning(told[code])}" for code in told),
        "content": {
            PROBLEM: {
                "schema": _ref("schemas", "Problem") | {"properties": {"code": {"enum": [*told]}}},
                "examples": {code: _ref("examples", code) for code in told},
            }
        },
    }
    is_busy = any(
        refusal.retry_after_s or refusal.kind == "unavailable" for refusal in told.values()
    )
    is_kept = any(refusal.kind in ("conflict", "precondition") for refusal in told.values())
    _say_headers(answer, is_keyed=is_keyed and is_kept, is_busy=is_busy)
    return answer


def example_of(refusal: Any) -> Fragment:
    """Return a problem document that tells a refusal of this class."""
    return {
        "type": f"/api/errors/{refusal.code}",
        "title": title_of(refusal.code),
        "status": STATUS_BY_KIND[refusal.kind],
        "detail": _meaning(refusal),
        "instance": "/api/v1/orders",
        "code": refusal.code,
        "trace_id": TRACE_EXAMPLE,
        "request_id": "shop-17",
        "retryable": refusal.retryable,
        "effect": refusal.effect,
        "errors": [],
    }


def add_what_is_shared(result: Fragment, **_: Any) -> Fragment:
    """Add the components that operations refer to, and the addresses that are plain views."""
    for kind, components in COMPONENTS.items():
        result["components"].setdefault(kind, {}).update(components)
    result["components"]["examples"] = {
        code: {"value": example_of(refusals[0])}
        for code, refusals in sorted(list_refusals().items())
    }
    result["paths"].update(PLAIN_ADDRESSES)
    result["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    return result


def _by_status(refusals: Iterable[Any]) -> list[tuple[int, list[Any]]]:
    grouped: dict[int, list[Any]] = {}
    for refusal in refusals:
        grouped.setdefault(STATUS_BY_KIND[refusal.kind], []).append(refusal)
    return sorted(grouped.items())


def _meaning(refusal: type[Exception]) -> str:
    return " ".join((refusal.__doc__ or "").split())


def _ref(kind: str, name: str) -> Fragment:
    return {"$ref": f"#/components/{kind}/{name}"}


def _say_headers(answer: Fragment, *, is_keyed: bool, is_busy: bool) -> None:
    headers = answer.setdefault("headers", {})
    headers["X-Request-Id"] = _ref("headers", "RequestId")
    if is_keyed:
        headers["Idempotent-Replayed"] = _ref("headers", "IdempotentReplayed")
    if is_busy:
        headers["Retry-After"] = _ref("headers", "RetryAfter")


def _without_null(schema: Fragment) -> Fragment:
    """Return the schema of a parameter that may be left out, which is not the same as null."""
    kept = {name: value for name, value in schema.items() if name not in ("anyOf", "title")}
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            kept |= choice
    if kept.get("default", ...) is None:
        del kept["default"]
    return kept


def _plain(summary: str, answers: Mapping[str, Fragment], **more: Any) -> Fragment:
    return {"get": {"summary": summary, "security": [], "responses": dict(answers), **more}}


def _json(description: str, schema: Fragment) -> Fragment:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


TAGS = {
    "orders": "Orders of the calling account.",
    "holds": "Units kept for a while, until they are ordered, released or expire.",
    "skus": "What is sold, and for how much.",
    "stock": "What is there, and every movement that made it so.",
    "locations": "Where stock lies.",
    "transfers": "Units that go from one location to another.",
    "stocktakes": "Counting while sales go on.",
    "events": "What happened, told to whoever asks.",
    "webhooks": "Where an account is told of what happened, and what became of it.",
    "rollout": "Who meets which version of the code, and what cuts a version off.",
    "service": "Probes, and the list of errors. Open to everybody.",
}
PROBLEM_SCHEMA: Fragment = {
    "type": "object",
    "description": "Why a request was refused (RFC 9457). Each code may add facts of its own.",
    "properties": {
        "type": {"type": "string", "description": "Leads to the meaning of the code."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "For people; may change."},
        "instance": {"type": "string", "description": "The path that was asked for."},
        "code": {"type": "string", "description": "For programs; stable."},
        "trace_id": {"type": ["string", "null"]},
        "request_id": {"type": ["string", "null"]},
        "retryable": {
            "type": "boolean",
            "description": "May the same request with the same key succeed later?",
        },
        "effect": {
            "enum": ["none", "unknown", "applied"],
            "description": "none: nothing was done. unknown: ask again with the same key.",
        },
        "errors": {
            "type": "array",
            "description": "One entry for each fault.",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "A JSON Pointer (RFC 6901)."},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
                "required": ["pointer", "code", "message"],
            },
        },
    },
}
PROBLEM_SCHEMA["required"] = [*PROBLEM_SCHEMA["properties"]]
ERROR_SCHEMA: Fragment = {
    "type": "object",
    "properties": {
        "code": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "retryable": {"type": "boolean"},
        "effect": {"enum": ["none", "unknown", "applied"]},
        "facts": {"type": "array", "items": {"type": "string"}},
        "meaning": {"type": "string"},
    },
    "required": ["code", "title", "status", "retryable", "effect", "facts", "meaning"],
}
READINESS_SCHEMA: Fragment = {
    "type": "object",
    "properties": {
        "status": {"enum": ["ready", "not_ready"]},
        "checks": {"type": "object", "additionalProperties": {"type": "object"}},
    },
    "required": ["status", "checks"],
}
COMPONENTS: Mapping[str, Fragment] = {
    "schemas": {"Problem": PROBLEM_SCHEMA, "Error": ERROR_SCHEMA, "Readiness": READINESS_SCHEMA},
    "parameters": {
        "IdempotencyKey": {
            "name": "Idempotency-Key",
            "in": "header",
            "required": True,
            "description": (
                "Makes this request one request, however often it is sent: the same key and body "
                "get the same answer. 1 to 255 printable ASCII characters without a comma, new "
                "for each thing that is to be done."
            ),
            "schema": {"type": "string", "pattern": r"^[!-+\--~]{1,255}$"},
            "example": KEY_EXAMPLE,
        },
        "RequestId": {
            "name": "X-Request-Id",
            "in": "header",
            "required": False,
            "description": "Names this call in the answer and in the logs; else one is made.",
            "schema": {"type": "string", "pattern": r"^[A-Za-z0-9._-]{1,64}$"},
        },
    },
    "headers": {
        "RequestId": {
            "description": "The name of this call in the logs.",
            "schema": {"type": "string"},
            "required": True,
        },
        "IdempotentReplayed": {
            "description": "There when the key had been answered before: this is that answer.",
            "schema": {"const": "true"},
        },
        "RetryAfter": {
            "description": "Seconds to wait before asking again.",
            "schema": {"type": "string", "pattern": "^[0-9]+$"},
        },
    },
}
PLAIN_ADDRESSES: Fragment = {
    "/livez": _plain(
        "Say that the process answers",
        {"200": _json("It does.", {"type": "object"})},
        operationId="get_liveness",
        tags=["service"],
    ),
    "/readyz": _plain(
        "Say whether orders are welcome here",
        {
            "200": _json("They are.", _ref("schemas", "Readiness")),
            "503": _json("They are not; the checks say why.", _ref("schemas", "Readiness")),
        },
        operationId="get_readiness",
        tags=["service"],
    ),
    "/api/errors": _plain(
        "List every error",
        {
            "200": _json(
                "By code.",
                {
                    "type": "object",
                    "properties": {"data": {"type": "array", "items": _ref("schemas", "Error")}},
                    "required": ["data"],
                },
            )
        },
        operationId="list_errors",
        tags=["service"],
    ),
    "/api/errors/{code}": _plain(
        "Tell what an error means",
        {
            "200": _json("Its meaning.", _ref("schemas", "Error")),
            "400": problem_answer([errors.MalformedRequest]),
            "404": problem_answer([errors.NotFound]),
        },
        operationId="get_error",
        tags=["service"],
        parameters=[{"name": "code", "in": "path", "required": True, "schema": {"type": "string"}}],
    ),
}

"""The one shape of a refusal, and the refusals that belong to no single app."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class AppError(Exception):
    """
    Something Sluice declines to do, as a fact that a caller can act on.

    code: stable name for programs. kind: what sort of refusal, one of the kinds that
    config.problems maps to an HTTP status. retryable: may the same request with the same key
    succeed later? facts: names of attributes to tell the caller. effect: "none" unless the
    refusal cannot know what happened ("unknown") or tells of something done ("applied").
    errors: one entry for each fault, {"pointer", "code", "message", …}; may be empty.
    headers: what HTTP wants to say besides the body.
    """

    code: ClassVar[str]
    kind: ClassVar[str]
    facts: ClassVar[tuple[str, ...]] = ()

    retryable: bool = False
    effect: str = "none"
    retry_after_s: int | None = None
    errors: Sequence[Mapping[str, Any]] = ()
    headers: Mapping[str, str] = {}


class MalformedRequest(AppError):
    """The request cannot be read, whatever it means."""

    code, kind = "malformed_request", "malformed"


class MalformedJson(AppError):
    """The body is not the JSON that this service reads: one value, strict, UTF-8, of sane depth."""

    code, kind = "malformed_json", "malformed"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.errors = ({"pointer": "", "code": self.code, "message": detail},)


class Unauthenticated(AppError):
    """The request carries no credential, or one that does not hold."""

    code, kind = "unauthenticated", "unauthenticated"
    headers = {"WWW-Authenticate": "Bearer"}


class Forbidden(AppError):
    """The caller is known and may not do this."""

    code, kind = "forbidden", "forbidden"


class HttpsRequired(AppError):
    """The request came in the clear, and with it its key: make a new key and call by https."""

    code, kind = "https_required", "forbidden"


class NotFound(AppError):
    """Nothing is at this address, or nothing that this caller may see."""

    code, kind = "not_found", "not_found"


class MethodNotAllowed(AppError):
    """The address exists; the verb is not one that it answers. Allow names those it does."""

    code, kind = "method_not_allowed", "method"


class LengthRequired(AppError):
    """The body came in chunks: say its length in Content-Length."""

    code, kind = "length_required", "length"


class BodyTooLarge(AppError):
    """The body is longer than this address reads."""

    code, kind = "body_too_large", "too_large"
    facts = ("bytes_max",)

    def __init__(self, *, bytes_max: int) -> None:
        super().__init__(f"The body may have {bytes_max} bytes at most")
        self.bytes_max = bytes_max


class UnsupportedMediaType(AppError):
    """The body is not application/json in UTF-8 without encoding."""

    code, kind = "unsupported_media_type", "media_type"


class ValidationFailed(AppError):
    """The request is well formed and wrong; errors name each fault by JSON Pointer."""

    code, kind = "validation_failed", "invalid"

    def __init__(self, errors: Sequence[Mapping[str, Any]], detail: str | None = None) -> None:
        super().__init__(detail or f"{len(errors)} member(s) of the request are wrong")
        self.errors = tuple(errors)


class TooManyRequests(AppError):
    """The caller is over its own limit."""

    code, kind, retryable = "too_many_requests", "too_many", True


class TemporarilyUnavailable(AppError):
    """Something that the service needs is away or busy. Nothing was done."""

    code, kind, retryable = "temporarily_unavailable", "unavailable", True


class OutcomeUnknown(AppError):
    """The service lost sight of its own work: ask again with the same key to learn the outcome."""

    code, kind, retryable, effect = "outcome_unknown", "unavailable", True, "unknown"


class InternalError(AppError):
    """A bug. It is logged under the request id that this answer carries."""

    code, kind, retryable, effect = "internal_error", "internal", True, "unknown"

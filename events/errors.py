"""The refusals of this app: its own small base, so that the app can be lifted out."""

from collections.abc import Sequence
from typing import Any, ClassVar


class EventsError(Exception):
    """A refusal with the attributes that a problem document tells: see each subclass."""

    code: ClassVar[str]
    kind: ClassVar[str]
    retryable: ClassVar[bool] = False
    effect: ClassVar[str] = "none"
    facts: ClassVar[tuple[str, ...]] = ()
    retry_after_s: ClassVar[int | None] = None
    errors: Sequence[dict[str, Any]] = ()


class IdempotencyKeyMissing(EventsError):
    """A POST that moves stock or money came without an Idempotency-Key."""

    code, kind = "idempotency_key_missing", "malformed"

    def __init__(self) -> None:
        super().__init__("This request needs an Idempotency-Key header.")


class IdempotencyKeyInvalid(EventsError):
    """An Idempotency-Key that is empty, too long, not printable ASCII, or sent twice."""

    code, kind = "idempotency_key_invalid", "malformed"

    def __init__(self, why: str) -> None:
        super().__init__(f"The Idempotency-Key {why}.")


class IdempotencyKeyReused(EventsError):
    """The key has answered another request; this one changed nothing."""

    code, kind = "idempotency_key_reused", "invalid"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used with another request.")


class RequestInProgress(EventsError):
    """The same key is being worked on at this moment, elsewhere."""

    code, kind = "request_in_progress", "conflict"
    retryable, effect, retry_after_s = True, "unknown", 1

    def __init__(self) -> None:
        super().__init__("A request with this Idempotency-Key is under way.")


class TemporarilyUnavailable(EventsError):
    """The database could not be used now, and nothing was done."""

    code, kind = "temporarily_unavailable", "unavailable"
    retryable, retry_after_s = True, 1

    def __init__(self) -> None:
        super().__init__("The database cannot be used now; nothing was done.")


class LockNotHad(TemporarilyUnavailable):
    """Another transaction keeps a lock for longer than anybody waits, and nothing was done."""


class OutcomeUnknown(EventsError):
    """The connection was lost during COMMIT: done or not, the same key will tell."""

    code, kind = "outcome_unknown", "unavailable"
    retryable, effect, retry_after_s = True, "unknown", 1

    def __init__(self) -> None:
        super().__init__("It is not known whether this was done: ask again with the same key.")


class StoredRefusal(EventsError):
    """
    The refusal that a key got when it was first used, told again word for word.

    Carries the first request's ids, so that a repeat is the same document, byte for byte.
    """

    def __init__(self, stored: dict[str, Any]) -> None:
        super().__init__(stored["detail"])
        self.code = stored["code"]  # type: ignore[misc]  # Each is what it was the first time.
        self.kind = stored["kind"]  # type: ignore[misc]
        self.facts = tuple(stored["facts"])  # type: ignore[misc]
        self.errors = stored["errors"]
        self.request_id = stored["request_id"]
        self.trace_id = stored["trace_id"]
        self.headers = {"Idempotent-Replayed": "true"}
        for name, value in stored["facts"].items():
            setattr(self, name, value)


class AddressRefused(EventsError):
    """A webhook may not be sent to this address; `why` says what is wrong with it."""

    code, kind = "webhook_address_refused", "invalid"
    facts = ("why",)

    def __init__(self, why: str) -> None:
        super().__init__(f"No webhook is sent there: {why}.")
        self.why = why


class EndpointNotFound(EventsError):
    """The account has no webhook endpoint of this id."""

    code, kind = "webhook_not_found", "not_found"

    def __init__(self) -> None:
        super().__init__("There is no webhook of this id.")


class TypesForbidden(EventsError):
    """The key may not be told of all that a webhook is told of, or asks for."""

    code, kind = "event_types_forbidden", "forbidden"
    facts = ("scope",)

    def __init__(self, scope: str) -> None:
        super().__init__(f"To be told of these types a key needs the scope {scope}.")
        self.scope = scope


class TooManyEndpoints(EventsError):
    """The account has as many webhook endpoints as an account may have."""

    code, kind = "too_many_webhooks", "conflict"
    facts = ("endpoints_max",)

    def __init__(self, *, endpoints_max: int) -> None:
        super().__init__(f"An account has at most {endpoints_max} webhooks.")
        self.endpoints_max = endpoints_max


class EndpointDisabled(EventsError):
    """The webhook is disabled, so nothing is sent to it; enable it first."""

    code, kind = "webhook_disabled", "conflict"

    def __init__(self) -> None:
        super().__init__("The webhook is disabled.")

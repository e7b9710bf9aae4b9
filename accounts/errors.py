"""What accounts refuses, in the one shape that the edge of a project answers."""

import math
import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from django.conf import settings
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, Throttled


class AccountsError(Exception):
    """
    Something accounts declines to do, as a fact that a caller can act on.

    The attributes are those of the host project's own refusals, so that one handler answers all.
    """

    code: ClassVar[str]
    kind: ClassVar[str]
    retryable: ClassVar[bool] = False
    effect: ClassVar[str] = "none"
    facts: ClassVar[tuple[str, ...]] = ()
    retry_after_s: int | None = None

    headers: Mapping[str, str] = MappingProxyType({})
    errors: Sequence[dict[str, Any]] = ()


class Unauthenticated(AccountsError, AuthenticationFailed):
    """There is no API key, or none that opens. The answer is the same whatever the reason."""

    # REST framework's exception too: after any other one request.user would authenticate, and
    # fail, a second time; and a project without a handler of its own still answers 401.
    code, kind = "unauthenticated", "unauthenticated"

    def __init__(self, reason: str, *, prefix: str | None = None) -> None:
        super().__init__("A valid API key is needed: Authorization: Bearer sk_…")
        # For the log only: a caller who learns the reason learns which keys exist.
        self.reason = reason
        self.prefix = prefix
        self.headers = {"WWW-Authenticate": authenticate_header()}

    def __str__(self) -> str:
        return str(self.detail)


class TooManyRequests(AccountsError, Throttled):
    """The caller is over its own limit. Nothing was done: ask again after Retry-After."""

    # REST framework's exception too, for the reason told above.
    code, kind, retryable = "too_many_requests", "too_many", True

    def __init__(self, wait_s: float) -> None:
        super().__init__(detail="More calls came than this key may make.")
        # Not the same second for all who were refused together.
        self.retry_after_s = math.ceil(wait_s) + random.randint(0, 2)

    def __str__(self) -> str:
        return str(self.detail)


class Forbidden(AccountsError, PermissionDenied):
    """The caller is known, and the key does not reach this far."""

    code, kind = "forbidden", "forbidden"
    facts = ("required_scope",)

    def __init__(self, required_scope: str | None) -> None:
        super().__init__(
            f"This API key lacks the scope {required_scope}."
            if required_scope
            else "This is open to no API key."
        )
        self.required_scope = required_scope

    def __str__(self) -> str:
        return str(self.detail)


class UnknownScope(AccountsError):
    """A scope that ACCOUNTS_SCOPES does not list, or none at all."""

    code, kind = "unknown_scope", "invalid"
    facts = ("unknown", "known")

    def __init__(self, unknown: Sequence[str], *, known: Sequence[str]) -> None:
        asked = f"unknown scope {', '.join(unknown)}" if unknown else "no scope asked for"
        super().__init__(f"{asked}; choose from {', '.join(known)}")
        self.unknown = list(unknown)
        self.known = list(known)


class ApiKeyNotLive(AccountsError):
    """Only a live key can be rotated, and a key is revoked once."""

    code, kind = "api_key_not_live", "conflict"
    facts = ("prefix", "state")

    def __init__(self, prefix: str, *, state: str) -> None:
        super().__init__(f"{prefix} is {state}")
        self.prefix = prefix
        self.state = state


class ApiKeyNotFound(AccountsError):
    """No key has this id."""

    code, kind = "api_key_not_found", "not_found"


class LoginLinkSpent(AccountsError):
    """The link was used, is too old, or never was: it does not say which."""

    code, kind = "login_link_spent", "not_found"


class NotStaff(AccountsError):
    """A login link is for people whom the admin lets in."""

    code, kind = "not_staff", "conflict"


def authenticate_header() -> str:
    """Return the WWW-Authenticate header of every 401."""
    return f'Bearer realm="{getattr(settings, "ACCOUNTS_REALM", "api")}"'

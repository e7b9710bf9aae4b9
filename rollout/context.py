"""What a decision may know of a call: of a request, or of a program without one."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import cache, lru_cache
from ipaddress import ip_address, ip_network
from time import time
from types import MappingProxyType
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signing import BadSignature
from django.http import HttpRequest
from django.utils.module_loading import import_string

from rollout.breaker import Token
from rollout.clauses import meta_key, text_of
from rollout.patterns import Version, parse_user_agent
from rollout.rules import Decision, read_override
from rollout.snapshot import Snapshot

HEADER_TRUSTS = ("permission", "authenticated", "signed", "any")
NOTHING: Mapping[str, Any] = MappingProxyType({})


class BaseContext:
    """What every context keeps: one snapshot, each decision once, the calls not yet settled."""

    __slots__ = (
        "attributes",
        "decisions",
        "denied",
        "has_failed",
        "pending",
        "served",
        "snapshot",
    )

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.attributes: Mapping[str, Any] = NOTHING
        self.decisions: dict[Any, Decision] = {}
        self.served: dict[str, Decision] = {}
        self.denied: list[str] = []
        self.has_failed = False
        # None: calls are settled when they return. A list: when the request ends.
        self.pending: list[tuple[Token, str, int]] | None = None

    def deny(self, source: str) -> None:
        """Take note that an override was not trusted."""
        self.denied.append(source)


class CallContext(BaseContext):
    """
    A call without a request: a job, a command, a test.

    Identities, headers, attributes and trusts are what the program says they are:
    CallContext(snapshot, identities={"account": 7}, headers={"User-Agent": "acme/2"}).
    """

    __slots__ = ("_identities", "_trusts", "meta", "method", "query", "url_path")

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        identities: Mapping[str, object] = NOTHING,
        headers: Mapping[str, str] = NOTHING,
        query: Mapping[str, str] = NOTHING,
        attributes: Mapping[str, Any] = NOTHING,
        trusts: frozenset[str] = frozenset(),
        method: str = "",
        url_path: str = "",
    ) -> None:
        super().__init__(snapshot)
        self.attributes = attributes
        self.meta: Mapping[str, Any] = (
            {meta_key(name): value for name, value in headers.items()} if headers else NOTHING
        )
        if query:
            self.meta = {**self.meta, "QUERY_STRING": "&".join(query)}
        self.query = query
        self.method = method
        self.url_path = url_path
        self._identities = identities
        self._trusts = trusts

    def identity(self, name: str) -> str | None:
        """Return an identity; attributes of the call count as identities of their name."""
        value = self._identities.get(name)
        if value is None:
            value = self.attributes.get(name)
        return None if value is None else text_of(value)

    def client(self) -> tuple[str, Version]:
        """Return family and version of the User-Agent."""
        return parse_user_agent(self.meta.get("HTTP_USER_AGENT", ""))

    def has_trust(self, trust: str) -> bool:
        """Test whether the program vouches for a trust."""
        return trust == "any" or trust in self._trusts

    def read_override(self, text: str) -> str | None:
        """Return the version asked for when the program vouches for the caller."""
        return text if "permission" in self._trusts else None


class AskedContext(CallContext):
    """
    A request that is only imagined, for an explanation: trusts are found as for a real one.

    Who has a user is authenticated, an override is believed as ROLLOUT_HEADER_TRUST says, and
    a signed one is verified.
    """

    __slots__ = ()

    def identity(self, name: str) -> str | None:
        """Return an identity; user and account are one where one resolver finds both."""
        value = super().identity(name)
        if value is None and name == "idempotency_key":
            return self.meta.get("HTTP_IDEMPOTENCY_KEY", "").strip('"') or None
        resolvers = _identity_resolvers()
        if value is None and name in _ONE_PERSON and resolvers["user"] is resolvers["account"]:
            return super().identity(_ONE_PERSON[name])
        return value

    def has_trust(self, trust: str) -> bool:
        """Test whether such a request would reach a rule's trust."""
        if trust == "signed":
            return _signed_version(self.meta.get("HTTP_X_DEPLOY_VERSION", "")) is not None
        if super().has_trust(trust):
            return True
        return trust == "authenticated" and (
            bool(self._trusts & _OF_USERS) or self.identity("user") is not None
        )

    def read_override(self, text: str) -> str | None:
        """Return what such a request's `x-deploy-version` would ask for, when it is trusted."""
        trust = header_trust()
        if trust == "signed":
            return _signed_version(text)
        return text if self.has_trust(trust) else None


_ONE_PERSON: Mapping[str, str] = {"user": "account", "account": "user"}
_OF_USERS = frozenset({"staff", "permission"})


class RequestContext(BaseContext):
    """
    A call inside a request.

    Nothing is looked at before a rule asks: DRF authenticates inside the view, so whoever is read
    earlier is anonymous. Therefore an identity is kept only once there is one.
    """

    __slots__ = ("_identities", "_query", "meta", "method", "request", "url_path")

    def __init__(self, snapshot: Snapshot, request: HttpRequest) -> None:
        super().__init__(snapshot)
        self.request = request
        self.meta = request.META
        self.method = request.method or ""
        self.url_path = request.path
        self.pending = []
        self._identities: dict[str, str] = {}

    @property
    def query(self) -> Mapping[str, Any]:
        """Return the query parameters."""
        return self.request.GET

    def identity(self, name: str) -> str | None:
        """Return who calls, by a resolver of ROLLOUT_IDENTITIES or by an attribute of the call."""
        known = self._identities.get(name)
        if known is not None:
            return known
        value = self.attributes.get(name)
        if value is not None:
            return text_of(value)
        resolve = _identity_resolvers().get(name)
        value = resolve(self.request) if resolve else None
        if value is None or value == "":
            return None
        text = self._identities[name] = text_of(value)
        return text

    def client(self) -> tuple[str, Version]:
        """Return family and version of the User-Agent."""
        return parse_user_agent(self.meta.get("HTTP_USER_AGENT", ""))

    def has_trust(self, trust: str) -> bool:
        """Test whether the caller reaches a rule's trust."""
        if trust == "any":
            return True
        return _TRUST_TESTS[trust](self.request)

    def read_override(self, text: str) -> str | None:
        """Return what `x-deploy-version` asks for when ROLLOUT_HEADER_TRUST trusts the caller."""
        trust = header_trust()
        if trust == "signed":
            return _signed_version(text)
        return text if self.has_trust(trust) else None

    def is_trusted(self) -> bool:
        """
        Test whether the caller may know what served.

        Asked of every answer, so a permission that only the database knows is looked up only for
        those who sent an override.
        """
        trust = header_trust()
        if trust == "permission" and not hasattr(_auth(self.request), "has"):
            return "HTTP_X_DEPLOY_VERSION" in self.meta and self.has_trust(trust)
        return self.has_trust(trust)


current: ContextVar[BaseContext | None] = ContextVar("rollout_context", default=None)


# --- Who is it? -------------------------------------------------------------------------------


def user_id(request: HttpRequest) -> object:
    """Return the authenticated user's primary key, or None."""
    user = getattr(request, "user", None)
    return user.pk if user is not None and user.is_authenticated else None


def api_key_id(request: HttpRequest) -> object:
    """Return the key of what authenticated the request, where it has one."""
    return getattr(_auth(request), "pk", None)


def idempotency_key(request: HttpRequest) -> object:
    """Return the Idempotency-Key without its quotes: a retry meets what its first attempt met."""
    return request.META.get("HTTP_IDEMPOTENCY_KEY", "").strip('"') or None


def anonymous_id(request: HttpRequest) -> object:
    """Return the id in the signed cookie that ROLLOUT_ANONYMOUS_COOKIE names."""
    name = getattr(settings, "ROLLOUT_ANONYMOUS_COOKIE", "")
    if not name or name not in request.COOKIES:
        return None
    try:
        return request.get_signed_cookie(name)
    except BadSignature:
        return None


Resolver = Callable[[HttpRequest], object]
BUILT_IN: Mapping[str, Resolver] = {
    "user": user_id,
    "account": user_id,
    "api_key": api_key_id,
    "anonymous": anonymous_id,
    "idempotency_key": idempotency_key,
}


@cache
def _identity_resolvers() -> Mapping[str, Resolver]:
    named = getattr(settings, "ROLLOUT_IDENTITIES", {})
    return {**BUILT_IN, **{name: import_string(dotted) for name, dotted in named.items()}}


def _auth(request: HttpRequest) -> Any:
    return getattr(request, "auth", None)


# --- Whom do we trust? ------------------------------------------------------------------------


def may_override(request: HttpRequest) -> bool:
    """Test for the scope rollout:override of a key, or the permission rollout.override."""
    has = getattr(_auth(request), "has", None)
    if has is not None:
        return bool(has("rollout:override"))
    user = getattr(request, "user", None)
    return user is not None and user.is_authenticated and user.has_perm("rollout.override")


def _may_override(request: HttpRequest) -> bool:
    return _permission_test()(request)


@cache
def _permission_test() -> Callable[[HttpRequest], bool]:
    dotted = getattr(settings, "ROLLOUT_PERMISSION_TEST", "rollout.context.may_override")
    test: Callable[[HttpRequest], bool] = import_string(dotted)
    return test


def _is_authenticated(request: HttpRequest) -> bool:
    user = getattr(request, "user", None)
    return user is not None and bool(user.is_authenticated)


def _is_staff(request: HttpRequest) -> bool:
    return _is_authenticated(request) and bool(getattr(request.user, "is_staff", False))


def _is_signed(request: HttpRequest) -> bool:
    return _signed_version(request.META.get("HTTP_X_DEPLOY_VERSION", "")) is not None


def _is_internal(request: HttpRequest) -> bool:
    return _is_in(
        request.META.get("REMOTE_ADDR", ""), tuple(getattr(settings, "ROLLOUT_INTERNAL_CIDRS", ()))
    )


@lru_cache(maxsize=4096)
def _is_in(address: str, networks: tuple[str, ...]) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False  # A unix socket has no address.
    return any(found in ip_network(network) for network in networks)


def _signed_version(text: str) -> str | None:
    if not text.startswith("v="):
        return None
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return read_override(text, now_s=time(), keys=[key.encode() for key in keys])


_TRUST_TESTS: Mapping[str, Callable[[HttpRequest], bool]] = {
    "authenticated": _is_authenticated,
    "staff": _is_staff,
    "permission": _may_override,
    "signed": _is_signed,
    "internal_cidr": _is_internal,
    "any": lambda _: True,
}


def header_trust() -> str:
    """
    Return whom the override is believed: permission, authenticated, signed or any.

    Raises ImproperlyConfigured for another word.
    """
    trust: str = getattr(settings, "ROLLOUT_HEADER_TRUST", "permission")
    if trust not in HEADER_TRUSTS:
        raise ImproperlyConfigured(
            f"ROLLOUT_HEADER_TRUST={trust!r}: write one of {', '.join(HEADER_TRUSTS)}"
        )
    return trust


def forget_settings() -> None:
    """Read ROLLOUT_IDENTITIES and ROLLOUT_PERMISSION_TEST again."""
    _identity_resolvers.cache_clear()
    _permission_test.cache_clear()

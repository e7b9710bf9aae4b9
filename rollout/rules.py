"""Who meets which version: the words, the order and the arithmetic. Pure."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal

BUCKETS = 10_000  # One bucket holds 0.01 % of subjects, one basis point.
OVERRIDE_SECONDS_MAX = 15 * 60
VERSION_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}\Z")
PATH_KEY = re.compile(r"[a-z][a-z0-9_]{0,31}(?:\.[a-z][a-z0-9_]{0,31}){1,3}\Z")

ROLES = ("stable", "canary", "fallback")
TRUSTS = ("any", "authenticated", "staff", "permission", "signed", "internal_cidr")
Effects = Literal["read", "write", "external"]
Fallback = Literal["admission", "rerun", "never"]


class Reason:
    """Why a version was chosen."""

    KILL_SWITCH = "KILL_SWITCH"
    PATH_DISABLED = "PATH_DISABLED"
    ROLLED_BACK = "ROLLED_BACK"
    FORCED_HEADER = "FORCED_HEADER"
    FORCED_QUERY = "FORCED_QUERY"
    USER_EXCLUDED = "USER_EXCLUDED"
    USER_TARGETED = "USER_TARGETED"
    COHORT_MATCH = "COHORT_MATCH"
    UA_MATCH = "UA_MATCH"
    MIGRATION_PHASE = "MIGRATION_PHASE"
    SPLIT = "SPLIT"
    SPLIT_NO_SUBJECT = "SPLIT_NO_SUBJECT"
    DEFAULT = "DEFAULT"
    STATIC = "STATIC"
    ERROR = "ERROR"
    OVERRIDE = "OVERRIDE"
    BREAKER_FALLBACK = "BREAKER_FALLBACK"
    BREAKER_PROBE = "BREAKER_PROBE"
    BREAKER_503 = "BREAKER_503"


class Tier(IntEnum):
    """The fixed order of rules. Within a tier: priority, then id; the first match wins."""

    FORCED = 2
    EXCLUDED = 3
    TARGETED = 4
    COHORT = 5
    CLIENT = 6
    SPLIT = 7


@dataclass(frozen=True, slots=True)
class Release:
    """Which version plays which role on a path. Promoting changes this, and no code."""

    stable: str
    canary: str | None = None
    fallback: str | None = None

    def version_of(self, name: str) -> str | None:
        """Return the version that a role or a version's own name stands for."""
        if name == "stable":
            return self.stable
        if name == "canary":
            return self.canary
        if name == "fallback":
            return self.fallback
        return name

    def role_of(self, version: str) -> str:
        """Return stable, canary or fallback, or "other" for a version without a role."""
        for role in ROLES:
            if getattr(self, role) == version:
                return role
        return "other"

    def falls_to(self, version: str) -> tuple[str, ...]:
        """Return the versions that stand in for a version, nearest first; may be empty."""
        if version == self.fallback and version != self.stable:
            return ()
        below = (self.fallback,) if version == self.stable else (self.stable, self.fallback)
        return tuple(name for name in below if name is not None and name != version)


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition. kind names what is looked at; options are its checked JSON members."""

    kind: str
    options: Mapping[str, Any]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Whom one rule sends to which version: all clauses hold, then the share is drawn."""

    id: str
    path: str
    serve: str
    match: tuple[Clause, ...] = ()
    share_bp: int = BUCKETS
    salt: str | None = None
    stickiness: tuple[str, ...] = ()
    priority: int = 100
    trust: str = "any"
    is_enabled: bool = True
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    note: str = ""
    owner: str = ""

    @property
    def tier(self) -> Tier:
        """Return the rule's place in the order; it follows from the rule's clauses."""
        return _place_of(self)[0]

    @property
    def reason(self) -> str:
        """Return the reason that a decision by this rule gives."""
        return _place_of(self)[1]

    @property
    def draws_by(self) -> str:
        """
        Return the salt of the share.

        The rule's id unless the rule names one: raising the share of one rule only adds
        subjects, and another rule meets others. Two rules of one salt move together.
        """
        return self.salt or self.id


@dataclass(frozen=True, slots=True)
class Segment:
    """A named set of callers: ids of one identity, or clauses that all hold."""

    name: str
    identity: str = "account"
    ids: tuple[str, ...] = ()
    match: tuple[Clause, ...] = ()


@dataclass(frozen=True, slots=True)
class PathPolicy:
    """What data says about one code path."""

    release: Release
    is_enabled: bool = True
    is_rolled_back: bool = False


@dataclass(frozen=True, slots=True)
class PathFacts:
    """What code says about one code path."""

    key: str
    versions: tuple[str, ...]
    release: Release
    effects: Effects = "read"
    fallback: Fallback = "admission"
    stickiness: tuple[str, ...] = ()
    owner: str = ""


@dataclass(slots=True)
class Decision:
    """Which version serves a call, and why."""

    path: str
    version: str
    reason: str
    generation: int
    rule_id: str | None = None
    bucket: int | None = None
    mode: str = "serve"
    base_reason: str | None = None
    stale: bool = False
    breaker_token: Any = field(default=None, repr=False, compare=False)


def bucket_of(salt: str, subject: str) -> int:
    """
    Return a subject's bucket under a salt, 0 … 9,999.

    The same pair gives the same bucket in every process, for ever. blake2b, because crc32 is
    affine: two salts would give linearly related buckets and the same customers would always
    be the first. The separator keeps "a" + "bc" apart from "ab" + "c".
    """
    digest = hashlib.blake2b(
        f"{salt}\x1f{subject}".encode(), digest_size=8, person=b"rollout-1"
    ).digest()
    return int.from_bytes(digest, "big") * BUCKETS >> 64


def is_in_share(salt: str, subject: str, share_bp: int) -> bool:
    """
    Test whether a subject is in a share.

    share_bp: basis points of subjects, 0 (nobody) … 10,000 (everybody). Raising the share never
    takes a subject out, lowering it never brings one in.
    """
    return bucket_of(salt, subject) < share_bp


_UNPRIVILEGED = frozenset({"header", "query"})
_PLACES: tuple[tuple[frozenset[str], Tier, str], ...] = (
    (frozenset({"header"}), Tier.FORCED, Reason.FORCED_HEADER),
    (frozenset({"query"}), Tier.FORCED, Reason.FORCED_QUERY),
    (frozenset({"user", "account"}), Tier.TARGETED, Reason.USER_TARGETED),
    (frozenset({"segment", "attr"}), Tier.COHORT, Reason.COHORT_MATCH),
    (frozenset({"user_agent"}), Tier.CLIENT, Reason.UA_MATCH),
    (frozenset({"phase"}), Tier.CLIENT, Reason.MIGRATION_PHASE),
)


def _place_of(rule: Rule) -> tuple[Tier, str]:
    kinds = {kind_of(clause) for clause in rule.match}
    for among, tier, reason in _PLACES:
        if kinds & among:
            if tier is Tier.TARGETED and rule.serve == "stable":
                return Tier.EXCLUDED, Reason.USER_EXCLUDED
            return tier, reason
    return Tier.SPLIT, Reason.SPLIT


def kind_of(clause: Clause) -> str:
    """Return the clause's kind for the order: X-Migration-Phase is no forcing header."""
    if clause.kind == "header" and clause.options["name"] == "x-migration-phase":
        return "phase"
    return clause.kind


def reads_what_anyone_can_send(rule: Rule) -> bool:
    """Test whether a rule hangs on a header or a query parameter, which any client can set."""
    return any(clause.kind in _UNPRIVILEGED for clause in rule.match)


def in_order(rules: Sequence[Rule]) -> list[Rule]:
    """Return rules as they are asked: by tier, priority and id."""
    return sorted(rules, key=lambda rule: (rule.tier, rule.priority, rule.id))


def sign_override(version: str, *, expires_at_s: int, key: bytes) -> str:
    """
    Return a token that forces a version until it expires, for `x-deploy-version`.

    expires_at_s: seconds of the epoch; one that is more than 15 minutes ahead is never trusted.
    """
    told = f"v={version};exp={expires_at_s}"
    return f"{told};sig={_signature(told, key)}"


def read_override(text: str, *, now_s: float, keys: Sequence[bytes]) -> str | None:
    """Return the version that a signed token forces; None when it is not one, or not valid now."""
    found = _OVERRIDE.match(text)
    if not found:
        return None
    told, version, expires_at_s, signature = found.groups()
    if not now_s < int(expires_at_s) <= now_s + OVERRIDE_SECONDS_MAX:
        return None
    if any(hmac.compare_digest(_signature(told, key), signature) for key in keys):
        return version
    return None


_OVERRIDE = re.compile(r"(v=([a-z0-9][a-z0-9_.-]{0,31});exp=(\d{1,12}));sig=([0-9a-f]{64})\Z")


def _signature(told: str, key: bytes) -> str:
    return hmac.new(key, f"rollout-override\x1f{told}".encode(), hashlib.sha256).hexdigest()

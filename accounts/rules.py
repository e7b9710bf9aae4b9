"""What an API key looks like, when it opens, and what it opens."""

import hashlib
import hmac
import re
import string
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

KeyState = Literal["live", "expired", "revoked", "inactive"]

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
# 62^43 is a little more than 2^256, so a guess is hopeless and a fast digest is enough: slow
# digests protect what people choose. 62^12 prefixes do not meet by chance.
SECRET_LENGTH = 43
PREFIX_PATTERN = r"sk_[0-9A-Za-z]{12}"
# Secret scanners look for this; docs/accounts.md publishes it.
KEY_PATTERN = rf"{PREFIX_PATTERN}_[0-9A-Za-z]{{{SECRET_LENGTH}}}"
PREFIX_RANDOM_LENGTH = 12

_BEARER = re.compile(rf"(?i:bearer) +(({PREFIX_PATTERN})_[0-9A-Za-z]{{{SECRET_LENGTH}}})", re.ASCII)


class PresentedKey(NamedTuple):
    """A well-formed key that somebody presents; whether it opens anything is not yet known."""

    key_text: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What a live key allows: request.auth in a view."""

    key_id: int
    prefix: str
    scopes: frozenset[str]

    def has(self, scope: str) -> bool:
        """Test whether the key carries exactly this scope; none implies another."""
        return scope in self.scopes


def compose_key(random_prefix: str, random_secret: str) -> PresentedKey:
    """
    Return the key made of two draws from ALPHABET, 12 and 43 characters long.

    Raises ValueError for draws of another shape.
    """
    prefix = f"sk_{random_prefix}"
    key_text = f"{prefix}_{random_secret}"
    if not re.fullmatch(KEY_PATTERN, key_text):
        raise ValueError("draws of another length or alphabet")
    return PresentedKey(key_text, prefix)


def parse_bearer(header: str) -> PresentedKey | None:
    """
    Return the key in an Authorization header, None when there is no well-formed one.

    The scheme is case-insensitive (RFC 9110, 11.1). Two headers arrive joined by a comma, which no
    key contains, so they are refused rather than one of them picked.
    """
    match = _BEARER.fullmatch(header)
    return None if match is None else PresentedKey(match[1], match[2])


def digest_of(key_text: str) -> str:
    """Return the SHA-256 of a key or a link's token, in hex, as it is stored."""
    return hashlib.sha256(key_text.encode()).hexdigest()


def is_same_digest(presented: str, stored: str) -> bool:
    """Compare two digests in a time that does not tell where they differ."""
    return hmac.compare_digest(presented, stored)


def state_of_key(
    *,
    revoked_at: datetime | None,
    expires_at: datetime | None,
    is_user_active: bool,
    now: datetime,
) -> KeyState:
    """Return what becomes of a call with this key at now; expires_at is the first dead instant."""
    if revoked_at is not None:
        return "revoked"
    if expires_at is not None and expires_at <= now:
        return "expired"
    return "live" if is_user_active else "inactive"


def choose_scopes(wanted: Sequence[str], known: Collection[str]) -> list[str]:
    """Return the scopes to store, sorted and each once; "*" means every scope known today."""
    return sorted(known if "*" in wanted else set(wanted))


def list_unknown_scopes(wanted: Sequence[str], known: Collection[str]) -> list[str]:
    """Return the wanted scopes that are not known, sorted; "*" is always known."""
    return sorted(set(wanted) - set(known) - {"*"})


def client_address(remote: str, forwarded_for: str, *, proxies: int) -> str:
    """
    Return who called, through so many proxies of ours.

    forwarded_for: X-Forwarded-For, to which each proxy appends whom it heard. What stands left of
    our own proxies' words is the caller's claim and is not believed.
    """
    heard = [part.strip() for part in forwarded_for.split(",") if part.strip()]
    return heard[-proxies] if 0 < proxies <= len(heard) else remote


def is_session_over(*, age_s: float, idle_s: float, age_s_max: float, idle_s_max: float) -> bool:
    """Test whether a person has to log in again, for having been here long or not at all."""
    return age_s >= age_s_max or idle_s >= idle_s_max

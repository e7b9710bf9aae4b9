"""Issue, rotate and revoke API keys, admit whoever presents one, and log people in once."""

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError, transaction

from accounts import rules, storage
from accounts.errors import (
    ApiKeyNotFound,
    ApiKeyNotLive,
    LoginLinkSpent,
    NotStaff,
    Unauthenticated,
    UnknownScope,
)
from accounts.models import ApiKey
from accounts.rules import Grant, PresentedKey

__all__ = [
    "ApiKeyNotFound",
    "ApiKeyNotLive",
    "Caller",
    "IssuedKey",
    "LoginLinkSpent",
    "NotStaff",
    "Unauthenticated",
    "UnknownScope",
    "admit",
    "issue_key",
    "known_scopes",
    "make_login_link",
    "peek_login_link",
    "revoke_key",
    "rotate_key",
    "state_of",
    "use_login_link",
]

logger = logging.getLogger(__name__)

USE_NOTED_EVERY = timedelta(minutes=1)
LOGIN_LINK_LIFE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key with its text, which nobody can read again."""

    key: ApiKey
    text: str

    def __repr__(self) -> str:
        # The text must not reach a log by way of a traceback.
        return f"IssuedKey({self.key.prefix})"


@dataclass(frozen=True, slots=True)
class Caller:
    """
    Who presented a live key, what the key allows, and until when if it ends.

    calls_per_s: how many calls a second, None for as many as the setting says.
    """

    user: User
    grant: Grant
    expires_at: datetime | None
    calls_per_s: int | None = None


def known_scopes() -> dict[str, str]:
    """Return the closed list of scopes with what each allows, from ACCOUNTS_SCOPES."""
    return getattr(settings, "ACCOUNTS_SCOPES", {})


def issue_key(
    *,
    user: User,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
    calls_per_s: int | None = None,
    now: datetime,
) -> IssuedKey:
    """
    Give a user a new key. "*" among the scopes stands for all that are known now.

    calls_per_s: 1 or more, None for what the setting says.

    Raises UnknownScope for a scope outside ACCOUNTS_SCOPES, and for no scope at all.
    """
    known = known_scopes()
    unknown = rules.list_unknown_scopes(scopes, known)
    chosen = rules.choose_scopes(scopes, known)
    if unknown or not chosen:
        raise UnknownScope(unknown, known=list(known))
    return _add_key(
        user=user,
        name=name,
        scopes=chosen,
        expires_at=expires_at,
        calls_per_s=calls_per_s,
        now=now,
    )


def rotate_key(key_id: int, *, overlap: timedelta, now: datetime) -> IssuedKey:
    """
    Give a key a successor with the same name, scopes, limit and length of life.

    Both open for overlap.

    Raises ApiKeyNotFound, and ApiKeyNotLive for a key that is dead or was rotated before.
    """
    if overlap < timedelta(0):
        raise ValueError(f"overlap={overlap}: 0 or more")
    with transaction.atomic():
        # Locked before it is judged: of two people who rotate at once, the second is refused.
        key = storage.lock_key(key_id)
        if key is None:
            raise ApiKeyNotFound
        state = state_of(key, now=now)
        if state != "live" or key.replaced_by_id is not None:
            raise ApiKeyNotLive(key.prefix, state=state if state != "live" else "replaced")

        lifetime = None if key.expires_at is None else key.expires_at - key.created_at
        issued = _add_key(
            user=key.user,
            name=key.name,
            scopes=key.scopes,
            expires_at=None if lifetime is None else now + lifetime,
            calls_per_s=key.calls_per_s,
            now=now,
        )
        ends_at = now + overlap
        if key.expires_at is not None:
            ends_at = min(ends_at, key.expires_at)
        storage.mark_replaced(key, successor=issued.key, expires_at=ends_at)
    return issued


def revoke_key(key_id: int, *, now: datetime) -> None:
    """
    End a key; within a second no worker admits it.

    Raises ApiKeyNotFound, and ApiKeyNotLive when it was revoked before.
    """
    with transaction.atomic():
        key = storage.lock_key(key_id)
        if key is None:
            raise ApiKeyNotFound
        if not storage.take_revocation(key_id, now=now):
            raise ApiKeyNotLive(key.prefix, state="revoked")


def admit(presented: PresentedKey, *, digest: str, now: datetime) -> Caller:
    """
    Return whose live key this is, and note its use once a minute.

    Raises Unauthenticated for a key that is unknown, expired, revoked or of an inactive user.
    """
    key = storage.find_key(presented.prefix)
    if key is None or not rules.is_same_digest(digest, key.digest):
        raise Unauthenticated("unknown", prefix=presented.prefix)
    state = state_of(key, now=now)
    if state != "live":
        raise Unauthenticated(state, prefix=key.prefix)
    _note_use(key, now=now)
    return Caller(
        user=key.user,
        grant=Grant(key_id=key.pk, prefix=key.prefix, scopes=frozenset(key.scopes)),
        expires_at=key.expires_at,
        calls_per_s=key.calls_per_s,
    )


def state_of(key: ApiKey, *, now: datetime) -> rules.KeyState:
    """Return what becomes of a call with this key at now."""
    return rules.state_of_key(
        revoked_at=key.revoked_at,
        expires_at=key.expires_at,
        is_user_active=key.user.is_active,
        now=now,
    )


def make_login_link(*, user: User, now: datetime) -> str:
    """
    Return a token that logs a person into the admin once within ten minutes.

    Raises NotStaff for a user whom the admin would turn away.
    """
    if not (user.is_active and user.is_staff):
        raise NotStaff(f"{user.get_username()} is no active member of the staff")
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        storage.delete_old_login_links(now=now)
        storage.add_login_link(
            user=user,
            digest=rules.digest_of(token),
            created_at=now,
            expires_at=now + LOGIN_LINK_LIFE,
        )
    return token


def peek_login_link(token: str, *, now: datetime) -> User:
    """
    Return whom a token would log in, and leave it unused.

    Raises LoginLinkSpent for one that does not open, whatever the reason.
    """
    link = storage.find_login_link(rules.digest_of(token), now=now)
    if link is None or not (link.user.is_active and link.user.is_staff):
        raise LoginLinkSpent
    return link.user


def use_login_link(token: str, *, now: datetime) -> User:
    """
    Use up a token and return whom to log in.

    Raises LoginLinkSpent for one that does not open, whatever the reason.
    """
    user = peek_login_link(token, now=now)
    if not storage.take_login_link(rules.digest_of(token), now=now):
        raise LoginLinkSpent  # Another click came between.
    return user


def _add_key(
    *,
    user: User,
    name: str,
    scopes: list[str],
    expires_at: datetime | None,
    calls_per_s: int | None,
    now: datetime,
) -> IssuedKey:
    drawn = rules.compose_key(_draw(rules.PREFIX_RANDOM_LENGTH), _draw(rules.SECRET_LENGTH))
    key = storage.add_key(
        user=user,
        name=name,
        prefix=drawn.prefix,
        digest=rules.digest_of(drawn.key_text),
        scopes=scopes,
        calls_per_s=calls_per_s,
        created_at=now,
        expires_at=expires_at,
    )
    return IssuedKey(key=key, text=drawn.key_text)


def _draw(length: int) -> str:
    return "".join(secrets.choice(rules.ALPHABET) for _ in range(length))


def _note_use(key: ApiKey, *, now: datetime) -> None:
    if key.last_used_at is not None and now - key.last_used_at < USE_NOTED_EVERY:
        return
    try:
        with transaction.atomic():
            storage.note_use(key.pk, now=now, interval=USE_NOTED_EVERY)
    except DatabaseError:
        # A call is worth more than the note of it: say so and go on.
        logger.warning("The use of %s could not be noted", key.prefix, exc_info=True)

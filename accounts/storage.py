"""Every query, lock and conditional write of accounts."""

from datetime import datetime, timedelta

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db.models import Q

from accounts.models import ApiKey, LoginLink


def find_key(prefix: str) -> ApiKey | None:
    """Return the key with this prefix, its user loaded."""
    return ApiKey.objects.select_related("user").filter(prefix=prefix).first()


def lock_key(key_id: int) -> ApiKey | None:
    """Return the key, its user loaded, locked until the transaction ends."""
    keys = ApiKey.objects.select_related("user").select_for_update(of=("self",))
    return keys.filter(pk=key_id).first()


def add_key(  # a row's columns
    *,
    user: User,
    name: str,
    prefix: str,
    digest: str,
    scopes: list[str],
    calls_per_s: int | None,
    created_at: datetime,
    expires_at: datetime | None,
) -> ApiKey:
    """Store a new key."""
    return ApiKey.objects.create(
        user=user,
        name=name,
        prefix=prefix,
        digest=digest,
        scopes=scopes,
        calls_per_s=calls_per_s,
        created_at=created_at,
        expires_at=expires_at,
    )


def mark_replaced(key: ApiKey, *, successor: ApiKey, expires_at: datetime) -> None:
    """End a key at expires_at in favour of its successor. The caller holds the key's lock."""
    ApiKey.objects.filter(pk=key.pk).update(replaced_by=successor, expires_at=expires_at)


def take_revocation(key_id: int, *, now: datetime) -> bool:
    """Revoke a key; return False when it was revoked before, whose instant then stays."""
    return ApiKey.objects.filter(pk=key_id, revoked_at=None).update(revoked_at=now) == 1


def note_use(key_id: int, *, now: datetime, interval: timedelta) -> bool:
    """
    Note that a key was used, at most once per interval; return False when nothing was written.

    Must run in a transaction. SKIP LOCKED: a worker that finds another one at this row has nothing
    to add to it, and a call never waits for the note.
    """
    due = ApiKey.objects.select_for_update(skip_locked=True).filter(
        Q(last_used_at=None) | Q(last_used_at__lte=now - interval), pk=key_id
    )
    return ApiKey.objects.filter(pk__in=due.values("pk")).update(last_used_at=now) == 1


def find_user(name: str) -> User | None:
    """Return the user who logs in by this name."""
    model = get_user_model()
    return model._default_manager.filter(**{model.USERNAME_FIELD: name}).first()


def add_login_link(
    *, user: User, digest: str, created_at: datetime, expires_at: datetime
) -> LoginLink:
    """Store a new link."""
    return LoginLink.objects.create(
        user=user, digest=digest, created_at=created_at, expires_at=expires_at
    )


def delete_old_login_links(*, now: datetime) -> None:
    """Delete the links that time has closed, used or not."""
    LoginLink.objects.filter(expires_at__lte=now).delete()


def find_login_link(digest: str, *, now: datetime) -> LoginLink | None:
    """Return the link if it still opens at now, its user loaded."""
    links = LoginLink.objects.select_related("user")
    return links.filter(digest=digest, used_at=None, expires_at__gt=now).first()


def take_login_link(digest: str, *, now: datetime) -> bool:
    """
    Use up a link; return False when it no longer opens.

    One statement: of two clicks at once the second finds used_at set.
    """
    links = LoginLink.objects.filter(digest=digest, used_at=None, expires_at__gt=now)
    return links.update(used_at=now) == 1

"""The ways to read what can be ordered: live, and cached for a moment."""

from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
from django.conf import settings
from django.core.cache import cache
from django.core.signing import BadSignature, Signer

from events.usecases import use_case
from inventory import storage
from inventory.rules import Availability

# Part of each cache key: raise it when what is stored changes its shape.
FORMAT = 1


@use_case("inventory.read_availability")
def read_live(codes: Sequence[str], *, now: datetime) -> dict[str, Availability]:
    """Return what can be ordered of SKUs now, by code."""
    return storage.read_availability(codes, now=now)


@use_case("inventory.read_availability")
def read_cached(codes: Sequence[str], *, now: datetime) -> dict[str, Availability]:
    """
    Return what could be ordered of SKUs at most AVAILABILITY_CACHE_S ago, by code.

    For shop windows: an order always decides on the stock itself.
    """
    keys = {_key(code): code for code in codes}
    found = {}
    for key, sealed in cache.get_many(keys).items():
        known = _opened(key, sealed)
        # Redis may keep a value for longer than it was told to, after a failover or a clock jump.
        if known and (now - known.as_of).total_seconds() < settings.AVAILABILITY_CACHE_S:
            found[keys[key]] = known
    missing = [code for code in dict.fromkeys(codes) if code not in found]
    if missing:
        live = storage.read_availability(missing, now=now)
        cache.set_many(
            {_key(code): _sealed(_key(code), known) for code, known in live.items()},
            timeout=settings.AVAILABILITY_CACHE_S,
        )
        found |= live
    return found


def _key(code: str) -> str:
    return f"availability:{FORMAT}:{code}"


def _sealed(key: str, known: Availability) -> str:
    text = orjson.dumps([known.is_active, known.available, known.as_of.timestamp()]).decode()
    return _signer(key).sign(text)


def _opened(key: str, sealed: object) -> Availability | None:
    if not isinstance(sealed, str):
        return None
    try:
        is_active, available, at = orjson.loads(_signer(key).unsign(sealed))
    except (BadSignature, ValueError):
        return None
    return Availability(is_active, available, datetime.fromtimestamp(at, tz=UTC))


def _signer(key: str) -> Signer:
    # With the key in the signature nobody can pass one SKU's stock off as another's.
    return Signer(salt=f"inventory.availability:{key}")

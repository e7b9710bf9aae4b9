"""Redis as a cache that may vanish: an error of it is a miss, and never slows a request twice."""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from django_prometheus.cache.metrics import (
    django_cache_get_total,
    django_cache_hits_total,
    django_cache_misses_total,
)
from django_redis.cache import RedisCache
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

Found = TypeVar("Found")

# After an error nobody asks for this long; then one caller tries, and the others still do not.
# Twice as long after each try in vain: who tries waits for a timeout, and has a customer waiting.
AWAY_S = 1.0
AWAY_S_MAX = 8.0
# What a value that we did not write may raise while it is read.
GARBAGE = (ValueError, TypeError, KeyError, RecursionError)


class Guard:
    """
    Decides for one process whether Redis is asked.

    While it is away one caller tries now and then, and all others go on at once. Nothing here
    waits, so it needs no lock: two callers that try at the same time do no harm.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._is_away = False
        self._asks_again_at = 0.0
        self._away_s = AWAY_S

    def ask(self, call: Callable[[], Found], otherwise: Found) -> Found:
        """Return what call returns; otherwise when Redis is away or holds what we cannot read."""
        is_try = self._is_away
        if is_try:
            now = self._clock()
            if now < self._asks_again_at:
                return otherwise
            self._asks_again_at = now + self._away_s
        try:
            found = call()
        except (RedisError, ConnectionInterrupted, OSError) as failure:
            # Many may be under way when it goes away: they fail together and count once.
            self._away_s = min(2 * self._away_s, AWAY_S_MAX) if is_try else AWAY_S
            self._asks_again_at = self._clock() + self._away_s
            if not self._is_away:
                self._is_away = True
                logger.warning("Redis is away, going on without a cache: %s", failure)
            return otherwise
        except GARBAGE:
            return otherwise
        if self._is_away:
            self._is_away = False
            logger.warning("Redis is back")
        return found


MISSED = object()
_reads, _hits, _misses = (
    metric.labels("redis")
    for metric in (django_cache_get_total, django_cache_hits_total, django_cache_misses_total)
)


def count_reads(wanted: int, *, hits: int) -> None:
    """Count values that were wanted, under the names of django-prometheus."""
    _reads.inc(wanted)
    _hits.inc(hits)
    _misses.inc(wanted - hits)


# By address: Django makes a cache object for each thread or greenlet.
_guards: dict[str, Guard] = {}


class GuardedRedisCache(RedisCache):  # type: ignore[misc]
    """
    django-redis behind a guard: while Redis is away every answer is a miss, at once.

    A hanging Redis costs one caller every few seconds its timeout, whatever the load. Only the
    verbs below are guarded; the rest raises as django-redis does.
    """

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._guard = _guards.setdefault(server, Guard())

    def get(self, key: Any, default: Any = None, version: Any = None, client: Any = None) -> Any:
        """Return a value, or default when it is missing, unreadable or Redis is away."""
        read = partial(super().get, key, MISSED, version, client)
        found = self._guard.ask(read, MISSED)
        count_reads(1, hits=found is not MISSED)
        return default if found is MISSED else found

    def get_many(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """Return the values that are there."""
        found: dict[Any, Any] = self._guard.ask(partial(super().get_many, *args, **kwargs), {})
        count_reads(len(args[0] if args else kwargs["keys"]), hits=len(found))
        return found

    def set(self, *args: Any, **kwargs: Any) -> bool:
        """Store a value; return whether Redis has it."""
        return bool(self._guard.ask(partial(super().set, *args, **kwargs), False))

    def add(self, *args: Any, **kwargs: Any) -> bool:
        """Store a value where none is; return whether it was stored."""
        return bool(self._guard.ask(partial(super().add, *args, **kwargs), False))

    def set_many(self, data: Mapping[Any, Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Store values in one round trip; return the keys that are not stored."""
        missed = self._guard.ask(partial(super().set_many, data, *args, **kwargs), list(data))
        return missed or []

    def delete_many(self, *args: Any, **kwargs: Any) -> int:
        """Remove values; return how many were there."""
        return self._guard.ask(partial(super().delete_many, *args, **kwargs), 0) or 0

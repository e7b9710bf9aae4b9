"""Redis as a cache that may vanish: an error of it is a miss, and never slows a request twice."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

import orjson
from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django_prometheus.cache.metrics import (
    django_cache_get_total,
    django_cache_hits_total,
    django_cache_misses_total,
)
from django_redis.cache import RedisCache
from django_redis.client import DefaultClient
from django_redis.exceptions import ConnectionInterrupted
from django_redis.serializers.base import BaseSerializer
from hiredis import pack_command
from redis.connection import DefaultParser
from redis.exceptions import RedisError

from config.instant import has_input, mutex

logger = logging.getLogger(__name__)

Found = TypeVar("Found")

# After an error nobody asks for this long; then one caller tries, and the others still do not.
# Twice as long after each try in vain: who tries waits for a timeout, and has a customer waiting.
AWAY_S = 1.0
AWAY_S_MAX = 8.0
# A batch of orders goes in one piece, what is larger in some that have SOCKET_TIMEOUT each.
PIECE_BYTES = 64 * 1024
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
    for count, by in ((_hits, hits), (_misses, wanted - hits)):
        if by:
            count.inc(by)


# Longer than Redis is ever waited for: its time-outs are the caller's.
SHARED_WAIT_S_MAX = 1.0


class Wish:
    """A value that somebody waits for."""

    __slots__ = ("key", "leads", "signal", "value")

    def __init__(self, key: str) -> None:
        self.key = key
        self.value: Any = MISSED
        self.leads = False
        # A lock that is held until there is news: half the price of an Event.
        self.signal = threading.Lock()
        self.signal.acquire()


class SharedReads:
    """
    Lets reads that come while one is under way share the next: as orders do in group commit.

    A trip to Redis costs ten times what a value in it does. Where some shared the last one, others
    can be heard already: they are let in before the next, by a turn of the event loop. With 16
    callers six values a trip instead of three; who comes alone waits for nobody. Greenlets and
    threads alike.
    """

    def __init__(self) -> None:
        self._mutex = mutex()
        self._wishes: list[Wish] = []
        self._is_led = False
        self._crowd = 0

    def get(self, key: str, read: Callable[[Iterable[str]], Mapping[str, Any]]) -> Any:
        """
        Return the value of key, MISSED when there is none.

        read: returns the values of many keys, those that are there. It must not raise.
        """
        wish = Wish(key)
        with self._mutex:
            wish.leads = not self._is_led
            self._is_led = True
            if not wish.leads:
                self._wishes.append(wish)
        if not wish.leads:
            self._wait(wish)
        if wish.leads:
            self._lead(wish, read)
        return wish.value

    def _wait(self, wish: Wish) -> None:
        has_news = False
        try:
            has_news = wish.signal.acquire(timeout=SHARED_WAIT_S_MAX)
        finally:
            # Also for a greenlet that is killed here: nobody may hand it the lead.
            if not has_news:
                with self._mutex:
                    if wish in self._wishes:
                        self._wishes.remove(wish)
                is_called, wish.leads = wish.leads, False
                if is_called:
                    self._pass_on()

    def _lead(self, own: Wish, read: Callable[[Iterable[str]], Mapping[str, Any]]) -> None:
        wishes = [own]
        found: Mapping[str, Any] = {}
        try:
            if self._crowd > 1:
                time.sleep(0)
            with self._mutex:
                wishes += self._wishes
                self._wishes = []
            self._crowd = len(wishes)
            found = read({wish.key: None for wish in wishes})
        finally:
            self._pass_on()
            for wish in wishes:
                wish.value = found.get(wish.key, MISSED)
                wish.signal.release()

    def _pass_on(self) -> None:
        with self._mutex:
            heir = self._wishes.pop(0) if self._wishes else None
            self._is_led = heir is not None
            if heir is not None:
                heir.leads = True
        if heir is not None:
            heir.signal.release()


# By address: Django makes a cache object for each thread.
_guards: dict[str, Guard] = {}
_shared: dict[str, SharedReads] = {}
_clients: dict[str, Any] = {}


def share_caches() -> None:
    """
    Have all greenlets of this process use the same cache objects.

    Django makes them for each, here for each connection of a caller, since others' may not be
    shared. Ours keep nothing of a call.
    """
    caches._connections = SimpleNamespace()  # type: ignore[attr-defined]


class JsonSerializer(BaseSerializer):  # type: ignore[misc]
    """Values as JSON. Not pickle: whoever can write to Redis could otherwise run code here."""

    def dumps(self, value: Any) -> bytes:
        """Return a value as bytes."""
        return orjson.dumps(value)

    def loads(self, value: bytes) -> Any:
        """Return the value of bytes; raises ValueError for what is no JSON."""
        return orjson.loads(value)


class Client(DefaultClient):  # type: ignore[misc]
    """django-redis' client, that sees whether a value is a text."""

    def decode(self, value: Any) -> Any:
        """Return a value as it was stored; raises ValueError for what is none."""
        # Else it is taken for a number first, and each text costs an exception. What JsonSerializer
        # makes of a text begins so, and no number does.
        return self._serializer.loads(value) if value[:1] == b'"' else super().decode(value)


class Parser(DefaultParser):  # type: ignore[misc, valid-type]
    """
    Reads what Redis answers.

    The pool asks before each use whether something is there that nobody asked for, or nobody any
    more. That needs no turn of the event loop.
    """

    def can_read(self, timeout: float = 0) -> bool:
        """Tell whether there is something to read."""
        is_plain = not timeout and self._reader and not hasattr(self._sock, "pending")  # No TLS.
        if is_plain and not self._reader.has_data() and not has_input(self._sock):
            return False
        return bool(super().can_read(timeout))


class GuardedRedisCache(RedisCache):  # type: ignore[misc]
    """
    django-redis behind a guard: while Redis is away every answer is a miss, at once.

    A hanging Redis costs one caller every few seconds its timeout, whatever the load. Only the
    verbs below are guarded; the rest raises as django-redis does.
    """

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._guard = _guards.setdefault(server, Guard())
        self._shared = _shared.setdefault(server, SharedReads())

    @property
    def client(self) -> Any:
        """The client of this process: its pool of connections is made to be shared."""
        return _clients.get(self._server) or _clients.setdefault(self._server, super().client)

    def get(self, key: Any, default: Any = None, version: Any = None, client: Any = None) -> Any:
        """
        Return a value, or default when it is missing, unreadable or Redis is away.

        Reads of the usual version share their trips; one that cannot be read is a miss for all who
        share it.
        """
        if version is None and client is None:
            found = self._shared.get(key, self._read)
        else:
            found = self._guard.ask(partial(super().get, key, MISSED, version, client), MISSED)
        count_reads(1, hits=found is not MISSED)
        return default if found is MISSED else found

    def _read(self, keys: Iterable[str]) -> dict[str, Any]:
        return self._guard.ask(partial(self._values_of, keys), {})

    def _values_of(self, keys: Iterable[str]) -> dict[str, Any]:
        client = self.client
        keys = list(keys)
        (values,) = self._exchange([("MGET", *map(client.make_key, keys))])
        return {
            key: client.decode(value)
            for key, value in zip(keys, values, strict=True)
            if value is not None
        }

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

    def set_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> list[Any]:
        """Store values in one round trip; return the keys that are not stored."""
        if not data:
            return []
        timeout_s = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        timeout_ms = int((timeout_s or 0) * 1000)
        write: Callable[[], Any] = partial(super().set_many, data, timeout, version)
        if timeout_ms > 0:
            write = partial(self._write, data, timeout_ms=timeout_ms, version=version)
        missed: list[Any] | None = self._guard.ask(write, list(data))
        return missed or []

    def _write(self, data: Mapping[Any, Any], *, timeout_ms: int, version: Any) -> None:
        client = self.client
        self._exchange(
            [
                ("PSETEX", client.make_key(key, version=version), timeout_ms, client.encode(value))
                for key, value in data.items()
            ]
        )

    def _exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the answers to commands that travel together."""
        # Past redis-py's client and its pipeline, whose ways cost more than the trip: nothing is
        # tried again, and each command stands for itself. Its pieces have 6,000 bytes, and each
        # wakes the server.
        packed = b"".join(map(pack_command, commands))
        pieces = [packed[n : n + PIECE_BYTES] for n in range(0, len(packed), PIECE_BYTES)]
        pool = self.client.get_client(write=True).connection_pool
        connection = pool.get_connection()
        try:
            connection.send_packed_command(pieces)
            return [connection.read_response() for _ in commands]
        except BaseException:
            connection.disconnect()  # What is still on its way is nobody's answer.
            raise
        finally:
            pool.release(connection)

    def delete_many(self, *args: Any, **kwargs: Any) -> int:
        """Remove values; return how many were there."""
        return self._guard.ask(partial(super().delete_many, *args, **kwargs), 0) or 0

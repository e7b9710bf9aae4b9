"""What is told about generations through Redis; all of it may be lost at any moment."""

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import redis
from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac
from redis.backoff import NoBackoff
from redis.retry import Retry

KEPT_MS = 24 * 3600 * 1000
ACKS_KEPT_MS = 10 * 60 * 1000
LIVE_S = 10
# Only background work waits for Redis, but what waits too long is told too late.
TIMEOUT_S = 0.1

log = logging.getLogger("rollout")

_TOLD = re.compile(r"(\d{1,18}):[0-9a-f]{0,64}:(\d{1,12}\.\d{3})\Z")

# Two publishers may come here in the wrong order: the number only ever grows. Whatever a key
# holds by accident is overwritten, so nothing of it is trusted before.
ANNOUNCE = """
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
local known = redis.pcall('GET', KEYS[1])
local number = type(known) == 'string' and tonumber(string.match(known, '^(%d+):'))
if not number or number < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[4])
end
return redis.call('PUBLISH', KEYS[3], ARGV[4])
"""


@dataclass(frozen=True, slots=True)
class Convergence:
    """How far a generation has come: acks by worker, in ms after it was announced; -1 unknown."""

    generation: int
    workers: frozenset[str]
    lag_ms: Mapping[str, float]

    @property
    def is_complete(self) -> bool:
        """Test whether every live worker has the generation."""
        return bool(self.workers) and self.workers <= self.lag_ms.keys()


def key(name: str) -> str:
    """Return a key of this installation; the braces keep all of them on one node of a cluster."""
    return f"{getattr(settings, 'ROLLOUT_REDIS_PREFIX', 'ro:{rollout}')}:{name}"


def client() -> "redis.Redis | None":
    """Return this process's connection to Redis, None where ROLLOUT_REDIS_URL is empty."""
    url = getattr(settings, "ROLLOUT_REDIS_URL", "")
    return _client_of(url) if url else None


@cache
def _client_of(url: str) -> "redis.Redis":
    return redis.Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        # redis-py would try three times more, for seconds; whoever asks here asks again anyway.
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
        encoding_errors="replace",
    )


def announce(*, generation: int, checksum: str, text: str) -> None:
    """
    Tell all workers of a generation that is committed.

    When Redis cannot be reached they find it by themselves: this is only faster.
    """
    connection = client()
    if connection is None:
        return
    told = f"{generation}:{checksum}:{time.time():.3f}"
    try:
        connection.eval(
            ANNOUNCE,
            3,
            key("gen"),
            key(f"snap:{generation}"),
            key("changes"),
            generation,
            seal(generation, text),
            KEPT_MS,
            told,
        )
    except redis.RedisError as failure:
        log.warning("could not announce generation %s: %s", generation, failure)


def read_told(text: object) -> tuple[int, float | None] | None:
    """Return generation and the time of its announcement; None for what nobody here wrote."""
    found = _TOLD.match(text) if isinstance(text, str) else None
    return None if found is None else (int(found[1]), float(found[2]))


def acknowledge(connection: "redis.Redis", generation: int, worker: str, lag_ms: float) -> None:
    """Tell that a worker has a generation. Raises RedisError."""
    acks = key(f"ack:{generation}")
    with connection.pipeline(transaction=True) as pipeline:
        pipeline.hset(acks, worker, f"{lag_ms:.1f}")
        pipeline.pexpire(acks, ACKS_KEPT_MS)
        pipeline.execute()


def convergence(generation: int) -> Convergence | None:
    """Return which live workers have a generation; None when Redis cannot tell."""
    connection = client()
    if connection is None:
        return None
    try:
        live = connection.zrangebyscore(key("workers"), (time.time() - LIVE_S) * 1000, "+inf")
        acks = connection.hgetall(key(f"ack:{generation}"))
        return Convergence(
            generation,
            frozenset(str(worker) for worker in live),
            {str(worker): float(lag_ms) for worker, lag_ms in acks.items()},
        )
    except (redis.RedisError, ValueError):
        return None


def seal(generation: int, text: str) -> str:
    """Return a rule set with a signature: who can write to Redis must not route orders."""
    return f"{_signature(generation, text, settings.SECRET_KEY)}\n{generation}\n{text}"


def unseal(sealed: str) -> tuple[int, str] | None:
    """Return generation and text of what was sealed here; None for anything else."""
    signature, _, rest = sealed.partition("\n")
    number, _, text = rest.partition("\n")
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        return None
    generation = int(number)
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        if constant_time_compare(signature, _signature(generation, text, secret)):
            return generation, text
    return None


def _signature(generation: int, text: str, secret: str) -> str:
    return salted_hmac(
        "rollout.snapshot", f"{generation}\n{text}", secret=secret, algorithm="sha256"
    ).hexdigest()

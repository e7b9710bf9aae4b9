"""How often something may be done, counted in the memory of one process: it needs no Redis."""

import threading
import time
from collections.abc import Callable, Hashable


class TokenBuckets:
    """
    A bucket of tokens for each name: it fills evenly and holds no more than a burst.

    buckets_max: what was not used for the longest time is forgotten, and is then full again.
    clock: seconds that only go forward.
    """

    def __init__(
        self, *, buckets_max: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._buckets_max = buckets_max
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: Hashable, *, per_s: float, burst: float) -> float:
        """Take a token; return 0.0, or in how many seconds there will be one to take."""
        with self._lock:
            now = self._clock()
            tokens = self._tokens_of(name, now, per_s=per_s, burst=burst)
            has_one = tokens >= 1
            self._buckets.pop(name, None)
            self._buckets[name] = (tokens - 1 if has_one else tokens, now)
            # Insertion order is the order of use: the first was not used for the longest time.
            while len(self._buckets) > self._buckets_max:
                del self._buckets[next(iter(self._buckets))]
        return 0.0 if has_one else (1 - tokens) / per_s

    def wait_s(self, name: Hashable, *, per_s: float, burst: float) -> float:
        """Return in how many seconds there will be a token, and take none."""
        with self._lock:
            tokens = self._tokens_of(name, self._clock(), per_s=per_s, burst=burst)
        return 0.0 if tokens >= 1 else (1 - tokens) / per_s

    def forget(self) -> None:
        """Fill every bucket."""
        with self._lock:
            self._buckets.clear()

    def _tokens_of(self, name: Hashable, now: float, *, per_s: float, burst: float) -> float:
        known = self._buckets.get(name)
        if known is None:
            return burst
        tokens, at = known
        return min(burst, tokens + (now - at) * per_s)

"""Ids that grow with time and differ by process: what the article calls a distributed id."""

import os
import threading
import time

EPOCH_MS = 1_700_000_000_000


class Snowflake:
    """41 bits of milliseconds, 10 of the process, 12 of a counter within the millisecond."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ms = 0
        self._count = 0

    def next_id(self) -> int:
        """Return an id that no other call returns."""
        with self._lock:
            now_ms = max(self._ms, time.time_ns() // 1_000_000)
            self._count = self._count + 1 if now_ms == self._ms else 0
            if self._count == 4096:
                now_ms, self._count = now_ms + 1, 0
            self._ms = now_ms
            return (now_ms - EPOCH_MS) << 22 | (os.getpid() & 1023) << 12 | self._count

"""
A lane as one relay works on it: what is at hand, what may go next, and when to leave it alone.

Nothing here asks the database. The relay's own thread adds what it has loaded and takes away what
it has settled; the threads that send take what may go and say how it ended.
"""

import random
import threading
import time
from bisect import insort
from collections import deque
from collections.abc import Sequence
from datetime import datetime

from events.queue import Due
from events.retries import SLOW_DOWN_S_MAX, Attempt, concurrency_of, rest_s

# Loaded from each end; enough for a tick of the relay, little enough to be sent again elsewhere.
WINDOW = 200
CONCURRENCY_MAX = 4


class Lane:
    """
    The deliveries of one lane that are at hand.

    Of one aggregate one is under way at most, and always the first. A failed one keeps its
    aggregate shut until the failure is settled: only then has the database put off what follows,
    and what was loaded of it is forgotten here.
    """

    def __init__(
        self,
        lane_id: int,
        token: int,
        *,
        window: int = WINDOW,
        concurrency: int = CONCURRENCY_MAX,
        rest_s_max: float = SLOW_DOWN_S_MAX,
    ) -> None:
        self.id = lane_id
        self.token = token
        self._window = window
        self.failures_in_row = 0
        self._concurrency = concurrency
        self._rest_s_max = rest_s_max
        self._lock = threading.Lock()
        self._held: dict[int, Due] = {}
        self._chains: dict[int, list[Due]] = {}
        self._shut: set[int] = set()
        # Aggregates whose first delivery may go, from the old end and from the new one.
        self._ready = (deque[int](), deque[int]())
        self._turn = 0
        self._at_work = 0
        self._valid_until = 0.0
        self._rest_until = 0.0
        self._told = (0, 0.0)

    def inherit(self, *, failures_in_row: int, rest_s: float) -> None:
        """Go on with what the holder before has left."""
        with self._lock:
            self.failures_in_row = failures_in_row
            self._rest_until = time.monotonic() + rest_s
            self._told = (failures_in_row, self._rest_until)

    def renew(self, *, valid_until: float) -> None:
        """Have the lane until then, by the monotonic clock."""
        with self._lock:
            self._valid_until = valid_until

    def leave(self) -> None:
        """Take nothing more from it."""
        with self._lock:
            self._valid_until = 0.0

    def held_ids(self) -> list[int]:
        """Return what is at hand or not yet settled."""
        with self._lock:
            return list(self._held)

    def oldest_due(self) -> datetime | None:
        """Return when the oldest that is at hand was due."""
        with self._lock:
            return min((due.due_at for due in self._held.values()), default=None)

    def room(self) -> int:
        """Return how many deliveries to load now: none while it rests or has enough."""
        with self._lock:
            has_enough = len(self._held) > self._window // 2
            return 0 if has_enough or not self._may_send() else self._window

    def is_idle(self) -> bool:
        """Test whether nothing is under way and nothing waits to be settled."""
        with self._lock:
            return not self._at_work and not self._shut

    def add(self, deliveries: Sequence[Due]) -> None:
        """Have more at hand."""
        with self._lock:
            for due in deliveries:
                if due.id in self._held:
                    continue
                self._held[due.id] = due
                chain = self._chains.setdefault(due.aggregate, [])
                if not chain and due.aggregate not in self._shut:
                    self._ready[due.is_fresh].append(due.aggregate)
                insort(chain, due, key=lambda one: one.position)

    def hire(self) -> bool:
        """Test whether one more sender has something to do, who then counts as at work."""
        with self._lock:
            waiting = len(self._ready[0]) + len(self._ready[1])
            limit = concurrency_of(self.failures_in_row, at_most=self._concurrency)
            if not waiting or not self._may_send() or self._at_work >= limit:
                return False
            self._at_work += 1
            return True

    def quit(self) -> None:
        """Have one sender less."""
        with self._lock:
            self._at_work -= 1

    def take(self) -> Due | None:
        """Return what may go next, in turn from the old end and the new; None: no more now."""
        with self._lock:
            limit = concurrency_of(self.failures_in_row, at_most=self._concurrency)
            if not self._may_send() or self._at_work > limit:
                return None
            return self._take()

    def take_batch(self, size: int) -> list[Due]:
        """Return what may go next together, in the order in which it must go."""
        with self._lock:
            batch: list[Due] = []
            while self._may_send() and len(batch) < size:
                first = self._take()
                if first is None:
                    break
                rest = self._chains.pop(first.aggregate, [])
                batch += [first, *rest]
            return sorted(batch, key=lambda due: due.position)

    def succeed(self, deliveries: Sequence[Due], *, is_answered: bool = True) -> None:
        """Let what comes after these go. is_answered: the receiver lives, not only we gave up."""
        with self._lock:
            if is_answered:
                self.failures_in_row = 0
            for aggregate in {due.aggregate for due in deliveries}:
                self._shut.discard(aggregate)
                if self._chains.get(aggregate):
                    self._ready[self._chains[aggregate][0].is_fresh].append(aggregate)
                else:
                    self._chains.pop(aggregate, None)

    def fail(self, attempt: Attempt) -> None:
        """Count a failure, and rest if it is time; its aggregates stay shut until settled."""
        with self._lock:
            self.failures_in_row += 1
            rest = rest_s(attempt, self.failures_in_row, dice=random.random())
            rest = min(rest, self._rest_s_max)
            self._rest_until = max(self._rest_until, time.monotonic() + rest)

    def settled(self, deliveries: Sequence[Due], *, is_over: bool) -> None:
        """
        Forget what the database knows now.

        Unless it is over with them, what follows them in their aggregates was put off: it is
        forgotten too, and loaded again in its time.
        """
        with self._lock:
            for due in deliveries:
                self._held.pop(due.id, None)
                if not is_over:
                    self._shut.discard(due.aggregate)
                    for later in self._chains.pop(due.aggregate, []):
                        self._held.pop(later.id, None)

    def news(self) -> tuple[int, float] | None:
        """Return failures in a row and seconds left to rest, if they changed since last asked."""
        with self._lock:
            standing = (self.failures_in_row, self._rest_until)
            if standing == self._told:
                return None
            self._told = standing
            return self.failures_in_row, max(0.0, self._rest_until - time.monotonic())

    def _may_send(self) -> bool:
        return self._rest_until <= time.monotonic() < self._valid_until

    def _take(self) -> Due | None:
        self._turn = 1 - self._turn
        for end in (self._ready[self._turn], self._ready[1 - self._turn]):
            while end:
                aggregate = end.popleft()
                chain = self._chains.get(aggregate)
                if chain and aggregate not in self._shut:
                    self._shut.add(aggregate)
                    return chain.pop(0)
        return None

"""
Who comes in when more want to than can be served: a count of what is under way, and a short queue.

Two lanes. Orders wait in the queue of group commit, where they hold no connection and where more
of them make each one cheaper: many may be under way. Everything else holds a connection sooner or
later: a few are under way, some wait in the order of their rank, and the rest hears "overloaded"
at once. Greenlets and threads alike: whatever `threading` is in this process.
"""

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Literal

from config.errors import AppError
from config.instant import mutex

Reason = Literal["full", "behind_orders", "waited"]


class Rank(IntEnum):
    """What is served first when not all can be, first to last."""

    PLACE = 0
    READ_ONE = 1
    CHANGE = 2
    LIST = 3
    OFFICE = 4


_SEGMENT = r"[^/]+"
# What a rank takes; the first row that fits decides. Whatever no row names belongs to the office:
# the admin, its files, the schema. The rollout's verbs stop bad code, which may be what overloads.
_RANKED: tuple[tuple[str, str, Rank], ...] = (
    (r"POST", r"/api/v1/(orders|orders/bulk|holds)", Rank.PLACE),
    (r"POST|PUT|PATCH|DELETE", r"/api/v1/rollout/.*", Rank.PLACE),
    (r"GET|HEAD", r"/api/v1/orders/export", Rank.OFFICE),
    (r"GET|HEAD", rf"/api/v1/(orders|stock|skus|holds)/{_SEGMENT}", Rank.READ_ONE),
    (r"POST", r"/api/v1/stock/availability", Rank.READ_ONE),
    (r"POST|PUT|PATCH|DELETE", r"/api/v1/.*", Rank.CHANGE),
    (r".*", r"/api/v1/rollout/.*", Rank.OFFICE),
    (r".*", r"/api/v1/.*", Rank.LIST),
)
_RANKS = tuple((re.compile(f"({verbs}) {path}"), rank) for verbs, path, rank in _RANKED)

# Paths whose orders wait in the queue of group commit.
ORDER_PATH = "/api/v1/orders"
ORDER_PATHS = frozenset({ORDER_PATH, f"{ORDER_PATH}/bulk"})
# How full the lane of orders may be before a rank gives way to it.
ORDERS_SHARE_MAX = {Rank.READ_ONE: 0.8, Rank.CHANGE: 0.6, Rank.LIST: 0.4, Rank.OFFICE: 0.4}


def rank_of(method: str, path: str) -> Rank:
    """Return how important a call is."""
    if method == "POST" and path == ORDER_PATH:
        return Rank.PLACE
    call = f"{method} {path}"
    return next((rank for pattern, rank in _RANKS if pattern.fullmatch(call)), Rank.OFFICE)


def places_of(method: str, path: str, *, body_bytes: int) -> int:
    """
    Return how many places in the lane of orders a call takes, 0 for a call of the other lane.

    A bulk takes one for each KiB: about as many as it has orders of a few lines.
    """
    if method != "POST" or path not in ORDER_PATHS:
        return 0
    return 1 if path == ORDER_PATH else 1 + body_bytes // 1024


class Overloaded(AppError):
    """More calls came than can be served, and this one was not begun. Ask again later."""

    code, kind, retryable = "overloaded", "unavailable", True

    def __init__(self, reason: Reason) -> None:
        super().__init__("More calls came than can be served now; nothing was done")
        self.reason = reason


class Waiter:
    """A call that waits for a place."""

    __slots__ = ("is_admitted", "rank", "signal")

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self.is_admitted = False
        # A lock that is held until there is news: half the price of an Event.
        self.signal = threading.Lock()
        self.signal.acquire()


class Gate:
    """
    What is under way in this process, and what waits.

    orders_max: places in the lane of orders. others_max: calls under way in the other lane.
    waiting_max, wait_s_max: how many wait for a place in that lane, and how long at most. clock:
    seconds that only go forward.
    """

    def __init__(
        self,
        *,
        orders_max: int,
        others_max: int,
        waiting_max: int,
        wait_s_max: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.orders_max = orders_max
        self.others_max = others_max
        self.waiting_max = waiting_max
        self.wait_s_max = wait_s_max
        self.orders = 0
        self.others = 0
        self.waiting = 0
        self._clock = clock
        self._mutex = mutex()
        self._queues: dict[Rank, deque[Waiter]] = {rank: deque() for rank in Rank}
        # How long until the next place is free, as it was lately while calls waited.
        self._pace_s = 0.0
        self._freed_at: float | None = None

    def enter(self, rank: Rank, *, places: int = 0) -> float:
        """
        Take a place, or as many in the lane of orders as places says; give it back by leave.

        Returns how many seconds that took, 0.0 when it was at once. Raises Overloaded: at once
        where the wait would be too long, after wait_s_max at the latest.
        """
        with self._mutex:
            if places:
                self._take_orders(places)
                return 0.0
            waiter = self._take_or_queue(rank)
        if waiter is None:
            return 0.0
        began = self._clock()
        self._wait(waiter)
        return self._clock() - began

    def is_full_for(self, places: int) -> bool:
        """Test whether so many places in the lane of orders are too many now."""
        # What is larger than the lane comes in when the lane is empty, not never.
        return 0 < self.orders > self.orders_max - places

    def leave(self, *, places: int = 0) -> None:
        """Give back what enter took: to the most important call that waits, if one does."""
        with self._mutex:
            if places:
                self.orders -= places
            else:
                self._free()

    def _take_orders(self, places: int) -> None:
        if self.is_full_for(places):
            raise Overloaded("full")
        self.orders += places

    def _take_or_queue(self, rank: Rank) -> Waiter | None:
        if self.orders > ORDERS_SHARE_MAX.get(rank, 1.0) * self.orders_max:
            raise Overloaded("behind_orders")
        if self.others < self.others_max:
            self.others += 1  # Nobody waits: a place that is given back goes to who does.
            return None
        if self._expected_wait_s(rank) > self.wait_s_max:
            raise Overloaded("full")
        if self.waiting >= self.waiting_max:
            self._turn_away_one_below(rank)
        waiter = Waiter(rank)
        self._queues[rank].append(waiter)
        self.waiting += 1
        return waiter

    def _expected_wait_s(self, rank: Rank) -> float:
        ahead = sum(len(self._queues[other]) for other in Rank if other <= rank)
        return (ahead + 1) * self._pace_s

    def _turn_away_one_below(self, rank: Rank) -> None:
        """Make room among those who wait: the latest of the least important goes."""
        for other in sorted(Rank, reverse=True):
            if other <= rank:
                raise Overloaded("full")
            if self._queues[other]:
                self.waiting -= 1
                self._queues[other].pop().signal.release()
                return

    def _free(self) -> None:
        heir = next((queue.popleft() for queue in self._queues.values() if queue), None)
        self._keep_pace(is_busy=heir is not None)
        if heir is None:
            self.others -= 1
        else:
            self.waiting -= 1
            heir.is_admitted = True
            heir.signal.release()

    def _keep_pace(self, *, is_busy: bool) -> None:
        now = self._clock()
        if self._freed_at is not None:
            self._pace_s += (now - self._freed_at - self._pace_s) / 8
        # Between two calls that nobody waited for lies idle time, which says nothing.
        self._freed_at = now if is_busy else None
        if not is_busy:
            self._pace_s /= 2

    def _wait(self, waiter: Waiter) -> None:
        is_signalled = False
        try:
            is_signalled = waiter.signal.acquire(timeout=self.wait_s_max)
        except BaseException:
            # A greenlet that is killed here: its place, had or not, is another's.
            self._withdraw(waiter)
            if waiter.is_admitted:
                self.leave()
            raise
        if not is_signalled:
            self._withdraw(waiter)
        if not waiter.is_admitted:
            raise Overloaded("full" if is_signalled else "waited")

    def _withdraw(self, waiter: Waiter) -> None:
        with self._mutex:
            if waiter in self._queues[waiter.rank]:
                self._queues[waiter.rank].remove(waiter)
                self.waiting -= 1

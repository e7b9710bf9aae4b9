"""Lanes of group commit: who wants stock that somebody keeps locked keeps nobody else waiting."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from events.usecases import LockNotHad
from orders.intake import Intake

Work = TypeVar("Work")
Outcome = TypeVar("Outcome")


class StockBusy(LockNotHad):
    """Somebody has kept the stock of some SKUs locked for a while. codes: which."""

    def __init__(self, codes: Collection[str]) -> None:
        super().__init__()
        self.codes = codes


class Lanes(Generic[Work, Outcome]):
    """
    Queues before one function, as Intake has it: one for all, that waits for locks impatiently,
    and some beside it for what is told StockBusy there.

    A lock is kept for as long as another's batch takes, or for as long as a forgotten session
    likes. Beside the others a SKU that is busy has a lane of its own, for who waits for its lock
    keeps what else it has locked from others. What comes for it meanwhile goes there at once,
    until somebody has had the lock. beside: how many lanes, each of which needs a connection;
    where more SKUs are busy they share them.
    run: takes is_patient besides. codes_of: the SKUs that a work wants. more: of each Intake.
    """

    def __init__(
        self,
        run: Callable[..., Sequence[Outcome | Exception]],
        *,
        codes_of: Callable[[Work], Collection[str]],
        beside: int,
        **more: Any,
    ) -> None:
        self._codes_of = codes_of
        self._main: Intake[Work, Outcome] = Intake(partial(run, is_patient=False), **more)
        self._beside: list[Intake[Work, Outcome]] = [
            Intake(partial(run, is_patient=True), **more) for _ in range(beside)
        ]
        self._lanes: dict[str, int] = {}  # Of each SKU that is waited for, or was in vain.
        self._waited_for: Counter[str] = Counter()

    def submit(self, works: Sequence[Work]) -> list[Outcome | Exception]:
        """Have works done together with others', as Intake does, and return their outcomes."""
        busy = self._busy_of(works)
        if busy:
            return self._wait(works, busy)
        told = list(self._main.submit(works))
        left = {n: one.codes for n, one in enumerate(told) if isinstance(one, StockBusy)}
        if left:
            waited = self._wait([works[n] for n in left], set().union(*left.values()))
            for n, outcome in zip(left, waited, strict=True):
                told[n] = outcome
        return told

    def _busy_of(self, works: Sequence[Work]) -> set[str]:
        if not self._lanes:
            return set()
        wanted = {code for work in works for code in self._codes_of(work)}
        return wanted & self._lanes.keys()

    def _wait(self, works: Sequence[Work], codes: set[str]) -> list[Outcome | Exception]:
        lane = self._lane_of(codes)
        self._waited_for.update(codes)
        is_had = True
        try:
            told = list(self._beside[lane].submit(works))
            is_had = not any(isinstance(one, LockNotHad) for one in told)
        finally:
            self._waited_for.subtract(codes)
            self._waited_for = +self._waited_for
            if is_had:
                for code in codes - self._waited_for.keys():
                    self._lanes.pop(code, None)
        return told

    def _lane_of(self, codes: set[str]) -> int:
        known = sorted(codes & self._lanes.keys())
        used = Counter(self._lanes.values())
        free = min(range(len(self._beside)), key=used.__getitem__)
        lane = self._lanes[known[0]] if known else free
        for code in codes:
            self._lanes.setdefault(code, lane)
        return lane

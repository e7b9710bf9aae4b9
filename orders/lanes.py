"""Lanes of group commit: who wants stock that somebody keeps locked keeps nobody else waiting."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Generic, TypeVar

from events.usecases import LockNotHad
from orders.intake import Intake

Work = TypeVar("Work")
Outcome = TypeVar("Outcome")


class StockBusy(LockNotHad):
    """Somebody has kept the stock of some SKUs locked for a while. codes: which; none: a table."""

    def __init__(self, codes: AbstractSet[str]) -> None:
        super().__init__()
        self.codes = codes


class Lanes(Generic[Work, Outcome]):
    """
    Queues before one function, as Intake has it: one for all, that waits for locks impatiently,
    and some beside it for what is told StockBusy there.

    A lock is kept for as long as another's batch takes, or for as long as a forgotten session
    likes. Beside the others a SKU that is busy has a lane of its own, for who waits for its lock
    keeps what else it has locked from others. What comes for it goes there at once, until
    somebody has had the lock. beside: how many lanes, each of which needs a connection; where
    more SKUs are busy they share them.
    run: takes is_patient besides. codes_of: the SKUs that a work wants. more: of each Intake.
    """

    def __init__(
        self,
        run: Callable[..., Sequence[Outcome | Exception]],
        *,
        codes_of: Callable[[Work], AbstractSet[str]],
        beside: int,
        **more: Any,
    ) -> None:
        self._codes_of = codes_of
        self._run = run
        self._main: Intake[Work, Outcome] = Intake(self._run_impatiently, **more)
        self._beside: list[Intake[Work, Outcome]] = [
            Intake(partial(run, is_patient=True), **more) for _ in range(beside)
        ]
        self._lanes: dict[str, int] = {}  # Of each SKU whose lock was not had, until it is.

    def submit(self, works: Sequence[Work]) -> list[Outcome | Exception]:
        """Have works done together with others', as Intake does, and return their outcomes."""
        busy = self._busy_of(works)
        if busy:
            return self._wait(works, busy)
        told = list(self._main.submit(works))
        left = {n: one for n, one in enumerate(told) if isinstance(one, StockBusy)}
        if left:
            wanted = (self._waits_for(works[n], refusal) for n, refusal in left.items())
            codes = set().union(*wanted)
            waited = self._wait([works[n] for n in left], codes)
            for n, outcome in zip(left, waited, strict=True):
                told[n] = outcome
        return told

    def _run_impatiently(self, works: Sequence[Work]) -> Sequence[Outcome | Exception]:
        # What has become busy while it queued goes beside at once: here all would wait again.
        told: dict[int, Outcome | Exception] = {
            n: StockBusy(busy) for n, work in enumerate(works) if (busy := self._busy_of([work]))
        }
        left = [n for n in range(len(works)) if n not in told]
        if left:
            outcomes = self._run([works[n] for n in left], is_patient=False)
            told.update(zip(left, outcomes, strict=True))
        for n in left:
            if isinstance(refusal := told[n], StockBusy):
                self._lane_of(self._waits_for(works[n], refusal))  # Before the next batch begins.
        return [told[n] for n in range(len(works))]

    def _waits_for(self, work: Work, refusal: StockBusy) -> AbstractSet[str]:
        # One refusal tells all of a batch what is busy: an order waits for what it names, or for
        # what its hold has besides.
        return refusal.codes & self._codes_of(work) or refusal.codes

    def _busy_of(self, works: Sequence[Work]) -> set[str]:
        if not self._lanes:
            return set()
        wanted = {code for work in works for code in self._codes_of(work)}
        return wanted & self._lanes.keys()

    def _wait(self, works: Sequence[Work], codes: Collection[str]) -> list[Outcome | Exception]:
        told = list(self._beside[self._lane_of(codes)].submit(works))
        if not any(isinstance(one, LockNotHad) for one in told):
            for code in codes:
                self._lanes.pop(code, None)  # Whoever still waits for it is in its queue already.
        return told

    def _lane_of(self, codes: Collection[str]) -> int:
        used = Counter(list(self._lanes.values()))
        lane = min(range(len(self._beside)), key=used.__getitem__)
        for code in sorted(codes):
            lane = self._lanes.get(code, lane)
        for code in codes:
            self._lanes.setdefault(code, lane)
        return lane

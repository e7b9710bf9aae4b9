"""What was scarce a moment ago, in the memory of one process."""

import time
from collections.abc import Callable, Iterable

# For so long nobody looks whether there is plenty again; of so many SKUs.
SCARCE_S = 1.0
SCARCE_MAX = 10_000


class Scarce:
    """
    SKUs of which there was not plenty a moment ago: who wants them locks their stock first.

    clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def add(self, codes: Iterable[str]) -> None:
        """Know SKUs for SCARCE_S."""
        if len(self._until) >= SCARCE_MAX:
            self._until.clear()
        self._until.update(dict.fromkeys(codes, self._clock() + SCARCE_S))

    def isdisjoint(self, codes: Iterable[str]) -> bool:
        """Tell whether none of these is known."""
        if not self._until:
            return True
        now = self._clock()
        return all(self._until.get(code, 0.0) <= now for code in codes)

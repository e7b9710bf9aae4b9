"""When the machine itself stood still: what a server refuses then is no fault of what is proved."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.server import Database
from tests.steady import SteadyOrders

EVERY_S = 0.05
# A commit of one row that nobody else wants takes milliseconds.
STALL_S = 0.5
# Who began to wait in a stall is refused when his own time is over, a pool's and then a queue's.
LASTS_S = 5.0
HONEST = "503 temporarily_unavailable"


class Stalls:
    """
    A bystander that commits a row of its own, again and again, and keeps when that took long.

    It takes part in nothing: what holds it up is the disk or the machine, and not an order.
    """

    def __init__(self, database: Database) -> None:
        self.seen: list[tuple[float, float]] = []
        self._database = database
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        with self._database.connect() as bystander:
            bystander.execute("CREATE TABLE IF NOT EXISTS bystander (at timestamptz)")
            while not self._is_over.wait(EVERY_S):
                began = time.monotonic()
                bystander.execute("INSERT INTO bystander VALUES (now())")
                if (ended := time.monotonic()) - began > STALL_S:
                    self.seen.append((began, ended))

    @contextmanager
    def watched(self) -> Iterator["Stalls"]:
        """Watch until the block ends."""
        self._thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            self._thread.join()

    def met_by(self, began: float, ended: float) -> bool:
        """Tell whether a call from then to then, by time.monotonic, met a stall."""
        return any(start <= ended and began <= end for start, end in self.seen)

    def without_reason(self, load: SteadyOrders) -> Counter[str]:
        """Return what was refused and is not an honest "ask again" to one who met a stall."""
        excused = [
            what
            for at, what in load.refusals
            if what == HONEST and any(began <= at <= end + LASTS_S for began, end in self.seen)
        ]
        if self.seen:
            lengths = ", ".join(f"{end - began:.1f} s" for began, end in self.seen)
            print(f"\nthe machine stood still for {lengths}: {len(excused)} told 503")  # noqa: T201
        return load.refused - Counter(excused)

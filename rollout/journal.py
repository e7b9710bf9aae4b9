"""What breakers did, written down beside the requests: late rather than in their way."""

import contextlib
import logging
import threading
import time
from collections import deque
from datetime import timedelta

from django.db import DatabaseError, InterfaceError
from django.db import connection as database
from django.utils import timezone

from rollout import storage
from rollout.breaker import STATE_NAMES, Transition
from rollout.models import BreakerTransition

WRITE_S = 1.0
KEPT = timedelta(days=30)
SWEEP_S = 3600.0
# As many as a worker keeps while the database is away; then the oldest are lost.
WAITING_MAX = 1_000

log = logging.getLogger("rollout")


class Journal:
    """
    Keeps one worker's transitions in the database.

    A thread of its own, because a database that hangs must not keep breakers from being shared.
    """

    def __init__(self, *, worker: str) -> None:
        self.worker = worker
        self._waiting: deque[BreakerTransition] = deque(maxlen=WAITING_MAX)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        # Not at once: a fleet that starts would sweep all together, for nothing.
        self._sweep_at_s = time.monotonic() + SWEEP_S

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._run, name="rollout_journal", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def keep(self, told: Transition) -> None:
        """Take note of a transition; it is written within about a second."""
        self._waiting.append(
            BreakerTransition(
                at=timezone.now(),
                worker=self.worker[:150],
                path=told.path,
                version=told.version,
                from_state=STATE_NAMES[told.from_state],
                to_state=STATE_NAMES[told.to_state],
                epoch=told.epoch,
                cause=told.cause[:60],
                total=told.total,
                errors=told.errors,
                slow=told.slow,
            )
        )

    def write(self) -> bool:
        """Write what waits; return False when it waits on, because the database is away."""
        batch = list(self._waiting)
        if not batch:
            return True
        try:
            storage.add_transitions(batch)
        except (DatabaseError, InterfaceError) as failure:
            log.warning("%d transitions of breakers wait to be kept: %s", len(batch), failure)
            return False
        for one in batch:
            # Where the deque was full meanwhile, it has dropped some of these by itself.
            with contextlib.suppress(ValueError):
                self._waiting.remove(one)
        return True

    def sweep(self) -> None:
        """Remove what is older than a month."""
        storage.remove_transitions(before=timezone.now() - KEPT)

    def _run(self) -> None:
        pause_s = WRITE_S
        while not self._stopping.wait(pause_s):
            pause_s = WRITE_S if self._work() else min(pause_s * 2, 60.0)
        self._work()

    def _work(self) -> bool:
        try:
            is_written = self.write()
            if time.monotonic() >= self._sweep_at_s:
                self._sweep_at_s = time.monotonic() + SWEEP_S
                self.sweep()
        except Exception:
            # A thread that dies in silence would be found days later.
            log.exception("keeping transitions failed")
            return False
        else:
            return is_written
        finally:
            with contextlib.suppress(Exception):
                database.close()

"""Callers admitted within the last second, in one process."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import NamedTuple

from accounts.usecases import Caller


class _Known(NamedTuple):
    until: float
    caller: Caller


class _Flight(NamedTuple):
    until: float
    outcome: Future[Caller]


class Keyring:
    """
    Remembers for a second who a digest is, so that a busy key costs one query a second.

    Refusals are not remembered: a new key opens at once, and strangers cannot fill the memory.
    Nobody waits under the lock; whoever asks for a key that is being looked up shares the outcome.
    """

    def __init__(
        self,
        *,
        seconds_max: float = 1.0,
        keys_max: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds_max = seconds_max
        self._keys_max = keys_max
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._flights: dict[str, _Flight] = {}

    def find(self, digest: str) -> Caller | None:
        """Return who the digest is, None when that is not known from the last second."""
        known = self._known.get(digest)
        return known[1] if known is not None and self._clock() < known[0] else None

    def has_met(self, digest: str) -> bool:
        """Test whether this process admitted the digest before, however long ago."""
        return digest in self._known

    def ask(self, digest: str, look_up: Callable[[], Caller]) -> Caller:
        """
        Return who the digest is, by look_up or by one that is under way.

        Raises what look_up raises.
        """
        while True:
            with self._lock:
                if caller := self.find(digest):
                    return caller
                flight = self._flights.get(digest)
                # One that began longer ago may have read the key before it was revoked.
                leads = flight is None or self._clock() >= flight.until
                if flight is None or leads:
                    # The second counts from before the query: what it read may be that old.
                    flight = _Flight(self._clock() + self._seconds_max, Future())
                    self._flights[digest] = flight
            if leads:
                return self._lead(digest, flight, look_up)
            try:
                return flight.outcome.result()
            except CancelledError:
                continue  # Its greenlet was killed: that says nothing about the key.

    def forget(self) -> None:
        """Forget every caller."""
        with self._lock:
            self._known.clear()

    def _lead(self, digest: str, flight: _Flight, look_up: Callable[[], Caller]) -> Caller:
        try:
            caller = look_up()
        except Exception as failure:
            flight.outcome.set_exception(failure)
            raise
        else:
            self._remember(digest, _Known(flight.until, caller))
            flight.outcome.set_result(caller)
            return caller
        finally:
            with self._lock:
                if self._flights.get(digest) is flight:
                    del self._flights[digest]
            flight.outcome.cancel()  # Does nothing to one that has an outcome.

    def _remember(self, digest: str, known: _Known) -> None:
        with self._lock:
            self._known.pop(digest, None)
            self._known[digest] = known
            # Insertion order is the order of age: the first is the oldest.
            while len(self._known) > self._keys_max:
                del self._known[next(iter(self._known))]

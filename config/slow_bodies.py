"""
Bodies that never end: whoever sends one byte a second is no longer listened to in time.

The server bounds the time for a request's headers and not for its body. Nothing is thrown into
the greenlet that reads, which may hold what others need: its socket is shut for reading, so it
reads an end, and what was sent so far is too short.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_EVERY_S = 0.5


class SlowBodies:
    """The bodies that are being read in this process, and until when each may take."""

    def __init__(self) -> None:
        self._deadlines: dict[socket.socket, float] = {}
        self._watch: threading.Thread | None = None

    @contextmanager
    def bounded(self, sender: socket.socket | None, *, deadline: float) -> Iterator[None]:
        """
        Let the block read from sender until deadline, by time.monotonic; then it reads an end.

        sender: None where no server tells its socket, and then nothing is bounded.
        """
        if sender is None:
            yield
            return
        self._deadlines[sender] = deadline
        self._start_watch()
        try:
            yield
        finally:
            del self._deadlines[sender]

    def _start_watch(self) -> None:
        # With the first body and not before: a thread of the master would not survive a fork.
        if self._watch is None:
            self._watch = threading.Thread(target=self._look, name="slow-bodies", daemon=True)
            self._watch.start()

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_EVERY_S)
            now = time.monotonic()
            for sender, deadline in list(self._deadlines.items()):
                if now >= deadline:
                    _stop_listening(sender)


def _stop_listening(sender: socket.socket) -> None:
    try:
        # The other direction stays open: the answer says what was wrong.
        sender.shutdown(socket.SHUT_RD)
    except OSError:
        return  # It hung up meanwhile.

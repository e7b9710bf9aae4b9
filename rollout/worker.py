"""What runs beside the requests of one process: following the rules, sharing the breakers."""

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from rollout.journal import Journal
from rollout.reload import Watcher
from rollout.runtime import runtime
from rollout.sharing import Sharer


@dataclass(frozen=True, slots=True)
class Worker:
    """The background work of one process."""

    pid: int
    name: str
    watcher: Watcher
    sharer: Sharer
    journal: Journal


_running: Worker | None = None


def start() -> Worker:
    """
    Load the rules and begin to follow them; call it in each worker, after it forked.

    Threads and sockets do not survive a fork, so a call in the master would be lost; a second call
    in one process does nothing. Under gevent the threads are greenlets. Never raises for a
    database or a Redis that is down: see Watcher.boot.
    """
    global _running  # noqa: PLW0603 - one for each process
    if _running is not None and _running.pid == os.getpid():
        return _running
    name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
    told = getattr(settings, "ROLLOUT_LAST_KNOWN_GOOD", "")
    journal = Journal(worker=name)
    sharer = Sharer(runtime, worker=name, on_transition=journal.keep)
    watcher = Watcher(
        runtime,
        worker=name,
        last_known_good=Path(told) if told else None,
        on_breakers=sharer.wake,
    )
    watcher.boot()
    watcher.start()
    sharer.start()
    journal.start()
    _running = Worker(os.getpid(), name, watcher, sharer, journal)
    return _running


def stop() -> None:
    """End the background work of this process."""
    global _running  # noqa: PLW0603
    if _running is not None and _running.pid == os.getpid():
        _running.watcher.stop()
        _running.sharer.stop()
        _running.journal.stop()
    _running = None

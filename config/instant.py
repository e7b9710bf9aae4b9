"""What never waits, and so needs nothing of gevent, whose ways cost five to fifty times as much."""

import select
import threading
from typing import Any

from gevent.monkey import get_original


def mutex() -> threading.Lock:
    """
    Return a lock for what waits for nothing while it has it.

    The system's own: a greenlet that waited inside would stop all others that want it for ever.
    """
    lock: threading.Lock = get_original("threading", "Lock")()
    return lock


def has_input(connection: Any) -> bool:
    """Tell whether there is something to read, or nobody at the other end, without waiting."""
    look = get_original("select", "poll")()
    look.register(connection, select.POLLIN)
    return bool(look.poll(0))

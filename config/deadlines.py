"""When a call that only reads begins no further statement."""

from math import inf
from time import monotonic

from django.conf import settings
from gevent import getcurrent

from config.errors import AppError

NEVER = inf
# Where a greenlet keeps its own. Not a ContextVar: what a call starts, and outlives it, would
# inherit that.
NAME = "deadline"


class DeadlineExceeded(AppError):
    """The time that a request has is over. Nothing was changed."""

    code, kind, retryable = "deadline_exceeded", "unavailable", True
    facts = ("seconds_max",)

    def __init__(self, *, seconds_max: int) -> None:
        super().__init__(f"A request may take {seconds_max} s")
        self.seconds_max = seconds_max


def begin_nothing_after(deadline: float) -> None:
    """
    Let this greenlet or thread begin no statement of Django's after a time, until told otherwise.

    deadline: by time.monotonic, or NEVER. Kept by config.senders, and not by a wrapper of its own
    around statements: for that the call would need a connection, also where a cache has all that
    it asks for.
    """
    setattr(getcurrent(), NAME, deadline)


def check_deadline() -> None:
    """Raise DeadlineExceeded where this greenlet or thread may begin no statement any more."""
    if monotonic() >= getattr(getcurrent(), NAME, NEVER):
        raise DeadlineExceeded(seconds_max=settings.REQUEST_DEADLINE_S)

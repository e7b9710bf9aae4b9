"""When a delivery is tried again, and when its lane rests. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

# From failure to failure, in seconds: a little more than three days in all. The first is the
# attempt that comes at once.
DELAYS_S = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.1
RETRY_AFTER_S_MAX = 86_400

SLOW_STATUSES = frozenset({429, 502, 504})
GONE = 410
# So many failures in a row, and the lane sends one at a time; so many, and it rests.
CAUTIOUS_AFTER = 5
RESTS_AFTER = 20
REST_S_FIRST = 1.0
REST_S_MAX = 300.0
# Whoever asks for peace gets it for as long as it says, but a lane rests no longer than this.
SLOW_DOWN_S = 1.0
SLOW_DOWN_S_MAX = 3600.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    How one attempt ended.

    status: of the answer, None when there was none; error then says why. retry_after_s: how long
    the receiver asked to be left alone.
    """

    status: int | None = None
    error: str = ""
    answer: str = ""
    duration_ms: int = 0
    retry_after_s: float | None = None

    @property
    def is_success(self) -> bool:
        """Whether the receiver took the event: 2xx and nothing else."""
        return self.status is not None and 200 <= self.status <= 299

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants nothing any more."""
        return self.status == GONE


def delay_s(
    attempts: int,
    *,
    dice: float,
    retry_after_s: float | None = None,
    delays_s: Sequence[float] = DELAYS_S,
) -> float | None:
    """
    Return the seconds until the next attempt, None when there is none.

    attempts: made so far, 1 or more. dice: 0 … 1; it moves the delay by up to a tenth either way,
    so that what failed together does not come back together. What the receiver asked for counts
    when it is longer.
    """
    if attempts >= len(delays_s):
        return None
    delay = delays_s[attempts] * (1 - JITTER + 2 * JITTER * dice)
    return max(delay, min(retry_after_s or 0.0, RETRY_AFTER_S_MAX))


def rest_s(attempt: Attempt, failures_in_row: int, *, dice: float) -> float:
    """
    Return for how many seconds a lane rests after a failure, 0 for not at all.

    failures_in_row: this one included. The rest doubles while one attempt after another fails.
    """
    asked = 0.0
    if attempt.status in SLOW_STATUSES or attempt.retry_after_s is not None:
        asked = min(attempt.retry_after_s or SLOW_DOWN_S, SLOW_DOWN_S_MAX)
    if failures_in_row < RESTS_AFTER:
        return asked
    doubled = REST_S_FIRST * 2.0 ** min(failures_in_row - RESTS_AFTER, 10)
    return max(asked, min(doubled, REST_S_MAX) * (1 + JITTER * dice))


def concurrency_of(failures_in_row: int, *, at_most: int) -> int:
    """Return how many attempts a lane makes at once."""
    return at_most if failures_in_row < CAUTIOUS_AFTER else 1


def read_retry_after(header: str | None, *, now: datetime) -> float | None:
    """Return the seconds that a Retry-After asks for, as a number or as a date; else None."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), RETRY_AFTER_S_MAX))
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        return None
    return min(max((at - now).total_seconds(), 0.0), RETRY_AFTER_S_MAX)

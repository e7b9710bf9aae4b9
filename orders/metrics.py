"""What Prometheus may know of orders: what became of them, their batches, their books."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from events.usecases import Answer

BATCH_SIZE = Histogram(
    "orders_batch_size",
    "Orders that shared a transaction.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
BATCH_WAIT = Histogram(
    "orders_batch_wait_seconds",
    "How long a call waited for its batch to begin.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
BATCH_DURATION = Histogram(
    "orders_batch_duration_seconds",
    "How long a batch took, from its first statement to what COMMIT said.",
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
PLACED = Counter("orders_placed", "Orders that were taken.")
REFUSED = Counter("orders_refused", "Orders that were refused, each of a bulk, by code.", ("code",))
VIOLATIONS = Gauge(
    "inventory_invariant_violations",
    "What the last `manage.py reconcile` found that is not as it must be: 0.",
    multiprocess_mode="livemostrecent",
)
RECONCILED_AT = Gauge(
    "inventory_reconciled_at_seconds",
    "When `manage.py reconcile` ran last, as a time of Unix.",
    multiprocess_mode="livemostrecent",
)


def note_batch(waits_s: Sequence[float], *, orders: int, duration_s: float) -> None:
    """Count a batch: how long each of its calls waited, and how long it took."""
    BATCH_SIZE.observe(orders)
    BATCH_DURATION.observe(duration_s)
    for wait_s in waits_s:
        BATCH_WAIT.observe(wait_s)


def count_told(told: Iterable[Answer | Exception]) -> None:
    """Count orders by what became of them; one that is told again is counted as a replay."""
    for one in told:
        if isinstance(one, Exception):
            refused_with(getattr(one, "code", "internal_error")).inc()
        elif not one.is_replayed:
            PLACED.inc()


@cache
def refused_with(code: str) -> Counter:
    """Return the count of orders that were refused with a code; every code is a word of ours."""
    return REFUSED.labels(code)


def show_reconciliation(discrepancies: int, ran_at: datetime) -> None:
    """Show what the last comparison of the books found."""
    VIOLATIONS.set(discrepancies)
    RECONCILED_AT.set(ran_at.timestamp())

"""What Prometheus may know of events and keys."""

from prometheus_client import Counter, Gauge

REPLAYS = Counter(
    "idempotency_replays",
    "Requests that were told again what their key was told before.",
    ("told",),
)
OUTBOX_DEPTH = Gauge(
    "events_outbox_depth",
    "Events that no relay has taken up yet; counted up to 10,000.",
    multiprocess_mode="livemostrecent",
)
OUTBOX_AGE = Gauge(
    "events_outbox_age_seconds",
    "How old the oldest of them is; 0 without any.",
    multiprocess_mode="livemostrecent",
)

replayed_answer, replayed_refusal = (REPLAYS.labels(told) for told in ("answer", "refusal"))


def show_outbox(depth: int, age_s: float) -> None:
    """Show how much waits for a relay."""
    OUTBOX_DEPTH.set(depth)
    OUTBOX_AGE.set(age_s)

"""
What Prometheus may know of events and keys.

A lane is named by its webhook's id or its sink's name: as many as there are receivers.
"""

from prometheus_client import Counter, Gauge, Histogram

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
DELIVERIES = Counter(
    "events_deliveries", "Attempts to deliver an event, by how they ended.", ("lane", "outcome")
)
DELIVERY_DURATION = Histogram(
    "events_delivery_duration_seconds",
    "How long attempts took.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0),
)
PENDING = Gauge(
    "events_pending_deliveries",
    "Deliveries of a lane that wait; counted up to 10,000.",
    ("lane",),
    multiprocess_mode="livemostrecent",
)
PENDING_AGE = Gauge(
    "events_pending_age_seconds",
    "How old the delivery is that a lane makes next; 0 without any.",
    ("lane",),
    multiprocess_mode="livemostrecent",
)
RESTING = Gauge(
    "events_lane_resting",
    "1 while a lane is left alone after failures.",
    ("lane",),
    multiprocess_mode="livemostrecent",
)

replayed_answer, replayed_refusal = (REPLAYS.labels(told) for told in ("answer", "refusal"))


def show_outbox(depth: int, age_s: float) -> None:
    """Show how much waits for a relay."""
    OUTBOX_DEPTH.set(depth)
    OUTBOX_AGE.set(age_s)


def count_delivery(lane: str, outcome: str, *, events: int, duration_s: float) -> None:
    """Count an attempt; outcome: delivered, failed, or dead after the last one."""
    DELIVERIES.labels(lane, outcome).inc(events)
    DELIVERY_DURATION.observe(duration_s)


def show_lane(lane: str, *, pending: int, age_s: float, is_resting: bool) -> None:
    """Show what waits in a lane."""
    PENDING.labels(lane).set(pending)
    PENDING_AGE.labels(lane).set(age_s)
    RESTING.labels(lane).set(is_resting)

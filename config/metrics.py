"""What Prometheus may know of HTTP."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

# From an answer out of memory to the deadline of a request; finest where orders are.
DURATIONS_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0)

DURATION = Histogram(
    "http_server_duration_seconds",
    "How long requests took, from the first middleware to the last byte of a stream.",
    ("service", "route"),
    buckets=DURATIONS_S,
)
REQUESTS = Counter(
    "http_server_requests",
    "Requests that were answered.",
    ("service", "route", "method", "status"),
)
IN_FLIGHT = Gauge(
    "http_server_requests_in_flight",
    "Requests that wait for their answer.",
    ("handler",),
    multiprocess_mode="livesum",
)
REFUSALS = Counter("http_refusals", "Problems that were answered, by their code.", ("code",))


@cache
def refusals_with(code: str) -> Counter:
    """Return the count of problems with this code; every code is a word of ours."""
    return REFUSALS.labels(code)

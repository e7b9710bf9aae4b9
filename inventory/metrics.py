"""What Prometheus may know of stock."""

from prometheus_client import Histogram

LOCK_WAIT = Histogram(
    "inventory_lock_wait_seconds",
    "From asking for stock levels until they were locked: a round trip, and whoever held them."
    " Not of batches that lock their stock last.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0),
)

"""What the garbage collector took from Sluice's workers: its own metric, before and after."""

import math

from bench.competitors import PROCESSES
from tests.measured import Scrape

METRIC = "worker_gc_pause_seconds"


def pauses_between(before: Scrape, after: Scrape, *, seconds: float) -> dict[str, float]:
    """
    Return count, mean_ms, p99_ms and share of the pauses between two scrapes.

    p99_ms: the bound of the bucket that holds it, so it is that much at most. share: of the time
    that the workers had.
    """

    def grown(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    count, total_s = grown(f"{METRIC}_count"), grown(f"{METRIC}_sum")
    if not count:
        return {"count": 0, "mean_ms": 0.0, "p99_ms": 0.0, "share": 0.0}
    bounds = {dict(labels)["le"] for series, labels in after.values if series == f"{METRIC}_bucket"}
    p99_s = next(
        bound
        for bound in sorted(map(float, bounds))
        if sum(grown(f"{METRIC}_bucket", le=text) for text in bounds if float(text) == bound)
        >= 0.99 * count
    )
    return {
        "count": count,
        "mean_ms": 1000 * total_s / count,
        # JSON knows no infinity: more than the largest bound.
        "p99_ms": 1000 * p99_s if math.isfinite(p99_s) else 1e9,
        "share": total_s / (PROCESSES * seconds),
    }

"""What a benchmark says: lines, a table of medians and ratios, and a document to keep."""

import os
import platform
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.compare import Measure

SLUICE = "Sluice"
GIN = "Gin, as printed"
GIN_SAME = "Gin, same guarantees"
FASTAPI = "FastAPI"
FLASK = "Flask"

# What is asked of a release: what is compared, floor and goal; "p95" is better when smaller.
ASKED = (
    ("orders/s, alike", "per_second", ("alike", "alike"), GIN_SAME, 1.1, 1.4),
    ("orders/s, alike", "per_second", ("alike", "alike"), GIN, 0.85, 1.1),
    ("orders/s, alike", "per_second", ("alike", "alike"), FASTAPI, 1.8, 2.2),
    ("orders/s, alike", "per_second", ("alike", "alike"), FLASK, 3.0, 4.0),
    ("orders/s, one hot SKU", "per_second", ("hot", "hot"), GIN_SAME, 3.5, 4.5),
    ("p95 at 800/s, alike", "p95_ms", ("alike at 800/s",) * 2, GIN_SAME, 2.0, 1.2),
    ("p95 at 800/s, one hot SKU", "p95_ms", ("hot at 800/s",) * 2, GIN_SAME, 0.2, 0.1),
    ("bulk of 100, against one by one", "per_second", ("bulk of 100", "alike"), GIN_SAME, 3, 5),
    ("GET of one order", "per_second", ("get", "get"), FASTAPI, 0.8, 1.2),
)


def line(measure: "Measure") -> str:
    """Return one measure as a line."""
    cpu = "  ".join(f"{name} {us:.0f}" for name, us in measure.cpu_us.items())
    return (
        f"{measure.competitor:<21} {measure.cell:<15} {measure.per_second:>7.0f}/s"
        f"  p50 {measure.p50_ms:>6.1f}  p95 {measure.p95_ms:>6.1f}  p99 {measure.p99_ms:>6.1f} ms"
        f"  CPU-us: {cpu}  PSS {measure.pss_kib / 1024:.0f} MiB"
    )


def medians(measures: Sequence["Measure"], field: str) -> dict[tuple[str, str], float]:
    """Return the median over the rounds of one figure, by service and cell."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for measure in measures:
        found[measure.competitor, measure.cell].append(getattr(measure, field))
    return {key: statistics.median(values) for key, values in found.items()}


def ratios(measures: Sequence["Measure"]) -> list[dict[str, Any]]:
    """Return what is asked beside what was measured, for the peers that ran."""
    told = []
    for name, field, (ours, theirs), peer, floor, goal in ASKED:
        figures = medians(measures, field)
        if (SLUICE, ours) not in figures or (peer, theirs) not in figures:
            continue
        ratio = figures[SLUICE, ours] / figures[peer, theirs]
        told.append({"what": name, "against": peer, "ratio": ratio, "floor": floor, "goal": goal})
    return told


def table(measures: Sequence["Measure"]) -> str:
    """Return all medians with their spread, and the ratios."""
    speeds, p95s = medians(measures, "per_second"), medians(measures, "p95_ms")
    lines = []
    for (competitor, cell), speed in speeds.items():
        each = [m.per_second for m in measures if (m.competitor, m.cell) == (competitor, cell)]
        lines.append(
            f"{competitor:<21} {cell:<15} {speed:>7.0f}/s  ({min(each):.0f} to {max(each):.0f})"
            f"  p95 {p95s[competitor, cell]:>6.1f} ms"
        )
    lines += [
        f"{told['what']}, against {told['against']}: {told['ratio']:.2f} x"
        f" (floor {told['floor']}, goal {told['goal']})"
        for told in ratios(measures)
    ]
    return "\n".join(lines)


def document(measures: Sequence["Measure"], rounds: int, seconds: int) -> dict[str, Any]:
    """Return everything, with what it was measured on."""
    return {
        "machine": {
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "rounds": rounds,
        "seconds": seconds,
        "ratios": ratios(measures),
        "measures": [asdict(measure) for measure in measures],
    }

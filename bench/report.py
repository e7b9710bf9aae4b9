"""What a benchmark says: a line for each measure, a document to keep, tables of medians."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.asked import verdicts
from bench.cells import Measure

RESULTS = Path(__file__).parent / "results.json"
SCALE = Path(__file__).parent / "scale.json"

Document = dict[str, Any]


def line(measure: Measure) -> str:
    """Return one measure as a line."""
    cpu = "  ".join(f"{name} {us:.0f}" for name, us in measure.cpu_us.items())
    gc = ""
    if measure.gc is not None:
        gc = f"  GC {measure.gc['mean_ms']:.2f} ms, {100 * measure.gc['share']:.2f} %"
    late = f"  late {100 * measure.late_share:.0f} %" if measure.late_share else ""
    return (
        f"{measure.competitor:<21} {measure.cell:<14} {measure.per_second:>7.0f}/s"
        f"  p50 {measure.p50_ms:>6.1f}  p95 {measure.p95_ms:>6.1f}  p99 {measure.p99_ms:>6.1f} ms"
        f"{late}  CPU-us: {cpu}  PSS {measure.workers_pss_kib / 1024:.0f} of"
        f" {measure.pss_kib / 1024:.0f} MiB{gc}"
    )


def machine() -> dict[str, Any]:
    """Return what it was measured on."""
    model = ""
    for told in Path("/proc/cpuinfo").read_text().splitlines():
        if told.startswith("model name"):
            model = told.partition(":")[2].strip()
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def document(measures: Sequence[Measure], *, rounds: int, seconds: int) -> Document:
    """Return everything, with what it was measured on."""
    return {
        "machine": machine(),
        "rounds": rounds,
        "seconds": seconds,
        "measures": [asdict(measure) for measure in measures],
    }


def kept(path: Path) -> Document:
    """Return a document that was kept, an empty one where none was."""
    return json.loads(path.read_text()) if path.exists() else {}


def rows(results: Document) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Return service, cell and the measures of all rounds, in the order of the first."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for measure in sorted(results.get("measures", ()), key=lambda m: m["round"]):
        found.setdefault((measure["competitor"], measure["cell"]), []).append(measure)
    return [(competitor, cell, measures) for (competitor, cell), measures in found.items()]


def spread(measures: Sequence[dict[str, Any]], figure: Callable[[Any], float], form: str) -> str:
    """Return the median of a figure over the rounds, with the least and the most."""
    told = [figure(measure) for measure in measures]
    median = format(statistics.median(told), form)
    if len(told) == 1:
        return median
    return f"{median} ({format(min(told), form)} to {format(max(told), form)})"


def table(results: Document) -> str:
    """Return all medians with their spread, and what is asked of them."""
    lines = [
        f"{competitor:<21} {cell:<14} {spread(all_rounds, lambda m: m['per_second'], ',.0f'):>24}/s"
        f"  p95 {spread(all_rounds, lambda m: m['p95_ms'], '.1f')} ms"
        for competitor, cell, all_rounds in rows(results)
    ]
    lines += ["", *(str(verdict) for verdict in verdicts(results, kept(SCALE)))]
    return "\n".join(lines)

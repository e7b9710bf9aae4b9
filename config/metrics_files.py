"""
What workers counted, added up: of those that are gone to one file, so that files do not pile up.

No count ever falls, not by the last bit of a float: Prometheus would take that for a new start, and
all that was counted so far for new. How a sum of floats is rounded depends on the order of adding,
which changes with each worker that goes. So each file's count is taken down to a multiple of STEP
before it is added: such sums are exact, seconds up to 2**33 (270 years), whole numbers up to 2**53.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from config.metrics_directory import READ, try_lock

# Whoever reads is done in milliseconds. Past this the next worker that ends brings us back.
WAIT_S_MAX = 1.0
GONE = "gone"
# About a microsecond.
STEP = 2.0**-20


class ExactCollector(MultiProcessCollector):
    """Adds up the files of all processes as add_up_the_dead does; gauges stay as they are."""

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of all files."""
        files = [str(file) for file in Path(self._path).glob("*.db")]
        # The public merge() reads and adds in one go, and what was read is to be taken down first.
        metrics: dict[str, Metric] = self._read_metrics(files)  # type: ignore[no-untyped-call]
        for metric in metrics.values():
            if metric.type != "gauge":
                metric.samples = [s._replace(value=taken_down(s.value)) for s in metric.samples]
        added_up: Iterable[Metric] = self._accumulate_metrics(metrics, accumulate=True)  # type: ignore[no-untyped-call]
        return added_up


def exported(directory: Path) -> bytes:
    """Return what all processes counted there, as Prometheus reads it."""
    registry = CollectorRegistry()
    ExactCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def taken_down(count: float) -> float:
    """Return the largest multiple of STEP that is not above count."""
    return count - count % STEP


def add_up_the_dead(directory: Path, *, reaped: int | None = None) -> None:
    """
    Add the counts of dead workers to one file of each type, and remove their files.

    Counters and histograms only ever grow, so the sum stays right; what a gauge said of a worker
    went with it. reaped: the worker that has just ended. Others may have died with their master.
    """
    dead = [file for file in directory.glob("*.db") if _is_dead(file, reaped)]
    if not dead:
        return
    deadline = time.monotonic() + WAIT_S_MAX
    while (lock := try_lock(directory / READ)) is None:
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)
    try:
        for file in dead:
            with suppress(FileNotFoundError):  # The other master of an upgrade was faster.
                add_up(file)
    finally:
        os.close(lock)


def add_up(file: Path) -> None:
    """Add the counts of one process to those of all that are gone, and remove its file."""
    kind = file.stem.rpartition("_")[0]
    if kind.startswith("gauge"):
        file.unlink()
        return
    total = file.with_name(f"{kind}_{GONE}.db")
    sums: dict[str, float] = {}
    for source in (total, file):
        if source.exists():
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(source)):  # type: ignore[no-untyped-call]
                sums[key] = sums.get(key, 0.0) + taken_down(value)
    # Whole or not at all, and under a name that nobody reads until it is whole.
    draft = total.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    written: Any = MmapedDict(str(draft))  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        written.write_value(key, value, 0.0)
    written.close()
    draft.replace(total)
    file.unlink()


def _is_dead(file: Path, reaped: int | None) -> bool:
    owner = file.stem.rpartition("_")[2]
    if not owner.isdigit():
        return False
    if int(owner) == reaped:
        return True
    try:
        os.kill(int(owner), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False

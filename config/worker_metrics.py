"""What Prometheus may know of a worker: collector, loop, memory, connections, build."""

import gc
import os
import platform
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import django
import gunicorn
from prometheus_client import Counter, Gauge, Histogram

PAUSES_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)
LAGS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
WAITS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)

GC_PAUSE = Histogram(
    "worker_gc_pause_seconds",
    "How long the garbage collector stopped a worker.",
    ("generation",),
    buckets=PAUSES_S,
)
LOOP_LAG = Histogram(
    "worker_event_loop_lag_seconds",
    "How much later than it should a green thread ran: all of a worker's requests waited so long.",
    buckets=LAGS_S,
)
RSS = Gauge(
    "worker_memory_rss_bytes",
    "Memory of the largest worker, with what it shares.",
    multiprocess_mode="livemax",
)
PSS = Gauge(
    "worker_memory_pss_bytes",
    "Memory of all workers together; what they share counts once, and the master has its part.",
    multiprocess_mode="livesum",
)
CPU = Counter("worker_cpu_seconds", "Processor time of workers.", ("mode",))
WORKERS = Gauge("workers", "Workers that run.", multiprocess_mode="livesum")
BUILD = Gauge(
    "sluice_build_info",
    "What runs: 1 for each build, two of them during an upgrade.",
    ("version", "python", "django", "gunicorn"),
    multiprocess_mode="livemax",
)

POOL_WAIT = Histogram(
    "database_pool_wait_seconds",
    "How long it took to get a connection, with the look whether it still works.",
    buckets=WAITS_S,
)
POOL_GAUGES = {
    key: Gauge(f"database_pool_{name}", words, multiprocess_mode="livesum")
    for key, name, words in (
        ("pool_max", "size_max", "Connections that the workers may have."),
        ("pool_size", "size", "Connections that the workers have."),
        ("pool_available", "available", "Connections that nobody uses."),
        ("requests_waiting", "waiting", "Requests that wait for a connection."),
    )
}
POOL_COUNTERS = {
    key: Counter(f"database_pool_{name}", words)
    for key, name, words in (
        ("requests_errors", "refusals", "Requests that got no connection in DB_POOL_TIMEOUT_S."),
        ("connections_num", "connects", "Attempts to connect."),
        ("connections_errors", "connect_errors", "Attempts to connect that failed."),
        ("connections_lost", "connections_lost", "Connections that were found broken."),
    )
}


class GcPauses:
    """
    Notes how long each collection took, and tells it later.

    A collection may begin anywhere, also inside a counter that holds its lock: counting there would
    wait for itself for ever. So a pause is only put down here, and counted by count.
    """

    def __init__(self) -> None:
        self._began_s = 0.0
        # More than a busy worker has between two calls of count.
        self._noted: deque[tuple[int, float]] = deque(maxlen=10_000)

    def note(self, phase: str, info: Mapping[str, int]) -> None:
        """Note a collection: one of gc.callbacks."""
        if phase == "start":
            self._began_s = perf_counter()
        else:
            self._noted.append((info["generation"], perf_counter() - self._began_s))

    def count(self) -> None:
        """Count what was noted since the last time."""
        while self._noted:
            generation, pause_s = self._noted.popleft()
            _pauses[generation].observe(pause_s)


_pauses = [GC_PAUSE.labels(str(generation)) for generation in range(len(gc.get_count()))]
_user, _system = CPU.labels("user"), CPU.labels("system")


class CpuTime:
    """Counts the processor time that this process used since it was made."""

    def __init__(self) -> None:
        self._before = os.times()

    def count(self) -> None:
        """Count what was used since the last time."""
        now = os.times()
        _user.inc(max(0.0, now.user - self._before.user))
        _system.inc(max(0.0, now.system - self._before.system))
        self._before = now


class MeasuredPool:
    """Times who asks a pool for a connection, and shows how the pool stands."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._getconn = pool.getconn
        self._before: dict[str, float] = {}
        # psycopg tells only the sum of waits; the slowest hundredth is what hurts.
        pool.getconn = self._timed

    def _timed(self, timeout: float | None = None) -> Any:
        began_s = perf_counter()
        try:
            return self._getconn(timeout)
        finally:
            POOL_WAIT.observe(perf_counter() - began_s)

    def show(self) -> None:
        """Show how the pool stands now, and count what happened since the last time."""
        stats = self._pool.get_stats()
        for key, gauge in POOL_GAUGES.items():
            gauge.set(stats.get(key, 0))
        for key, counter in POOL_COUNTERS.items():
            now = stats.get(key, 0)
            counter.inc(max(0, now - self._before.get(key, 0)))
            self._before[key] = now


def show_memory() -> None:
    """Show what this process takes; PSS walks all its pages and is for now and then."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    RSS.set(pages * os.sysconf("SC_PAGE_SIZE"))
    for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            PSS.set(int(line.split()[1]) * 1024)


def show_build(version: str) -> None:
    """Show what runs here."""
    BUILD.labels(
        version, platform.python_version(), django.get_version(), gunicorn.__version__
    ).set(1)
    WORKERS.set(1)

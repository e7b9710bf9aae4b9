"""
What a worker measures beside its requests: itself every second, and the database by one of them.

Nothing runs unless metrics are shown. What METRICS_SAMPLES names asks the database what no process
can count by itself, such as the age of the oldest event that waits; one worker of a server does
that, whoever holds the lock, and when it ends another takes over.
"""

import gc
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.utils.module_loading import import_string

from config.metrics_directory import VARIABLE, try_lock
from config.worker_metrics import (
    LOOP_LAG,
    CpuTime,
    GcPauses,
    MeasuredPool,
    show_build,
    show_memory,
)

BEAT_S = 0.1
BEATS_EACH_LOOK = 10
LOOKS_EACH_MEMORY = 15
SAMPLE_EACH_S = 10.0

logger = logging.getLogger(__name__)


def start() -> None:
    """Begin to measure this worker; threads do not survive a fork, so not in the master."""
    directory = os.environ.get(VARIABLE)
    if directory is None:
        return
    show_build(str(settings.SPECTACULAR_SETTINGS["VERSION"]))
    pauses = GcPauses()
    gc.callbacks.append(pauses.note)
    looks = [pauses.count, CpuTime().count, MeasuredPool(connection.pool).show]  # type: ignore[attr-defined]
    _start(measure, looks)
    _start(sample, Path(directory), [import_string(name) for name in settings.METRICS_SAMPLES])


def measure(looks: list[Callable[[], None]]) -> None:
    """Measure this worker for as long as it lives."""
    memory_in = 0
    while True:
        for _ in range(BEATS_EACH_LOOK):
            due_s = time.perf_counter() + BEAT_S
            time.sleep(BEAT_S)
            LOOP_LAG.observe(max(0.0, time.perf_counter() - due_s))
        for look in looks:
            _guarded(look)
        if memory_in == 0:
            _guarded(show_memory)
            memory_in = LOOKS_EACH_MEMORY
        memory_in -= 1


def sample(directory: Path, samples: list[Callable[[], None]]) -> None:
    """Take samples of the database, as soon as no other worker of this server does."""
    while try_lock(directory / "sampler.lock") is None:
        time.sleep(1)
    # The lock is given back by the end of this process, however it ends.
    while True:
        for take in samples:
            _guarded(take)
        with suppress(Exception):
            connection.close()  # Back to the pool.
        time.sleep(SAMPLE_EACH_S)


def _guarded(look: Callable[[], None]) -> None:
    try:
        look()
    except Exception as failure:  # noqa: BLE001 - the edge of a process: the next look may succeed
        # A database that is away is told by whoever needs it; here it is no more than a gap.
        logger.info("%s: %s", getattr(look, "__qualname__", look), type(failure).__name__)


def _start(work: Callable[..., None], *arguments: object) -> None:
    threading.Thread(
        target=work, args=arguments, name=f"metrics-{work.__name__}", daemon=True
    ).start()

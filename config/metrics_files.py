"""The counts of workers that are gone: added to one file, so that they neither fall nor pile up."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client.mmap_dict import MmapedDict

from config.metrics_directory import READ, try_lock

# Whoever reads is done in milliseconds. Past this the next worker that ends brings us back.
WAIT_S_MAX = 1.0
GONE = "gone"


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
                _add_up(file)
    finally:
        os.close(lock)


def _add_up(file: Path) -> None:
    kind = file.stem.rpartition("_")[0]
    if kind.startswith("gauge"):
        file.unlink()
        return
    total = file.with_name(f"{kind}_{GONE}.db")
    sums: dict[str, float] = {}
    for source in (total, file):
        if source.exists():
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(source)):  # type: ignore[no-untyped-call]
                sums[key] = sums.get(key, 0.0) + value
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

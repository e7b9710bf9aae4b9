"""What processes cost: CPU time and memory, read from Linux's /proc."""

import os
from collections.abc import Iterable
from pathlib import Path

TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")


def tree_of(root: int) -> list[int]:
    """Return a process and all its descendants that are alive."""
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            parents[int(process.name)] = int(parent)
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return [pid for pid in found if pid in parents]


def cpu_us(pids: Iterable[int]) -> int:
    """
    Return the CPU time that processes and their ended children took, in microseconds.

    In steps of the kernel's tick, 10 ms as a rule: of use over seconds only.
    """
    total = 0
    for pid in pids:
        try:
            told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, told[11:15])) * TICK_US
    return total


def memory_kib(pids: Iterable[int]) -> tuple[int, int]:
    """Return what processes hold: RSS added up, and PSS, in which shared pages count once."""
    rss = pss = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, rest = line.partition(":")
            if name == "Rss":
                rss += int(rest.split()[0])
            elif name == "Pss":
                pss += int(rest.split()[0])
    return rss, pss

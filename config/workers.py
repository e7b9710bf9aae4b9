"""The workers that serve on this machine: which they are, and how much of its cores they use."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from config.env import env_text

PROC = Path("/proc")


class NoWorkers(Exception):
    """Why no worker was found, in one line for a person."""


@dataclass(frozen=True, slots=True)
class CoreTime:
    """Seconds that workers had a core, and that they waited for one which others had."""

    used_s: float
    queued_s: float


def find_master(pid: int | None) -> int:
    """
    Return the process whose children serve: pid, that of PID_FILE, or that of `make run`.

    Raises NoWorkers where there is none.
    """
    if not PROC.joinpath("self/stat").exists():
        raise NoWorkers("processes are looked up in /proc, which only Linux has")
    pid_file = env_text("PID_FILE", default="")
    home = Path(env_text("SLUICE_HOME", default=str(settings.BASE_DIR / ".local")))
    of_run = home / "run.json"
    if pid is None and pid_file:
        pid = _pid_in(Path(pid_file))
    elif pid is None and of_run.exists():
        pid = int(json.loads(of_run.read_text(encoding="utf-8"))["pids"]["gunicorn"])
    if pid is None:
        raise NoWorkers("name the server by --pid, or by PID_FILE as it was started with")
    if not PROC.joinpath(str(pid)).exists():
        raise NoWorkers(f"there is no process {pid} on this machine")
    return pid


def _pid_in(file: Path) -> int:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError) as failure:
        raise NoWorkers(f"PID_FILE: {failure}") from None


def workers_of(master: int) -> list[int]:
    """Return the workers of a server, oldest first. Raises NoWorkers when it has none."""
    found = []
    for process in PROC.glob("[0-9]*"):
        try:
            state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # It ended meanwhile.
        if int(parent) == master and state != "Z":
            found.append(int(process.name))
    if not found:
        raise NoWorkers(f"process {master} has no workers: is it the gunicorn that was started?")
    return sorted(found)


def core_time_of(workers: Sequence[int]) -> CoreTime:
    """Return what they had of the cores so far; of those that have ended, nothing."""
    used_s = queued_s = 0.0
    for worker in workers:
        try:
            stat = PROC.joinpath(str(worker), "stat").read_text().rpartition(")")[2].split()
            # Of its main thread, where all requests are served; an old kernel keeps no such books.
            scheduled = PROC.joinpath(str(worker), "schedstat")
            waited_ns = int(scheduled.read_text().split()[1]) if scheduled.exists() else 0
        except OSError:
            continue
        used_s += (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        queued_s += waited_ns / 1e9
    return CoreTime(used_s, queued_s)

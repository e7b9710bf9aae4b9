"""
Where the processes of one server keep their counts, so that any of them can add all of them up.

A directory for each server, held by a lock as long as one of its processes lives; what a killed
server left behind is removed by the next one that starts. An upgrade with USR2 has two masters for
a while: the new one joins the directory of the old one, so no count ever falls.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path

# prometheus_client reads it when it is imported, so it is set before anything else is.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PREFIX = "sluice-metrics-"
HELD, READ = "held.lock", "read.lock"

# What this process holds: a reload reads the configuration again and gets the same directory.
_held: dict[Path, int] = {}


def base_directory(wanted: str) -> Path:
    """Return where directories are made: as wanted, else in memory, else with temporary files."""
    if wanted:
        return Path(wanted)
    memory = Path("/dev/shm")  # noqa: S108 - on a disk each count would be a write sooner or later
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def claim(base: Path) -> Path:
    """
    Return this server's directory and name it in the environment.

    That of the master which runs us, when we are its upgrade; else a new and empty one.
    """
    directory = next(iter(_held), None)
    if directory is None and "GUNICORN_PID" in os.environ and VARIABLE in os.environ:
        directory = Path(os.environ[VARIABLE])
    if directory is None or not directory.is_dir():
        remove_abandoned(base)
        directory = _new_directory(base)
    elif directory not in _held:
        _held[directory] = _locked(directory / HELD, fcntl.LOCK_SH)
    os.environ[VARIABLE] = str(directory)
    return directory


def disclaim() -> None:
    """Count in memory: nobody will ask. What the environment says of a directory is not ours."""
    os.environ.pop(VARIABLE, None)


def hand_over(environment: MutableMapping[str, str]) -> None:
    """Tell the server that takes our place where the counts are."""
    for directory in _held:
        environment[VARIABLE] = str(directory)


def leave() -> None:
    """Remove the directory, unless another master lives there."""
    for directory, held in _held.items():
        os.close(held)
        _remove_if_abandoned(directory)
    _held.clear()


def remove_abandoned(base: Path) -> None:
    """Remove the directories of servers that are gone."""
    for directory in base.glob(f"{PREFIX}*"):
        with suppress(OSError):  # Another user's, or removed by another server that starts.
            _remove_if_abandoned(directory)


@contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Keep files from being added together meanwhile: a dead worker would count twice."""
    lock = _locked(directory / READ, fcntl.LOCK_SH)
    try:
        yield
    finally:
        os.close(lock)


def try_lock(file: Path) -> int | None:
    """Return a lock that nobody else holds, to be closed, or None."""
    try:
        return _locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def _new_directory(base: Path) -> Path:
    # It gets its name when it is locked: until then another start could take it for abandoned.
    draft = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=base))
    held = _locked(draft / HELD, fcntl.LOCK_SH)
    directory = draft.rename(base / draft.name.removeprefix("."))
    _held[directory] = held
    return directory


def _remove_if_abandoned(directory: Path) -> None:
    lock = try_lock(directory / HELD)
    if lock is not None:
        try:
            shutil.rmtree(directory)
        finally:
            os.close(lock)


def _locked(file: Path, how: int) -> int:
    opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(opened, how)
    except BaseException:
        os.close(opened)
        raise
    return opened

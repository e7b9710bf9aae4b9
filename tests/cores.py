"""Shares out the cores of this machine, so that who asks takes nothing from who is asked."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from bench.cost import tree_of
from tests.server import Server


@contextmanager
def callers_apart(server: Server) -> Iterator[None]:
    """
    Leave one core to this process and what it starts in a block, and the rest to a server.

    So it is where callers, and the proxy before a server, are other machines. The server's are
    also its database and its Redis, where they run on this machine. With one core nothing is done.
    """
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        yield
        return
    ours = {max(cores)}
    theirs = processes_of(server)
    _put(theirs, cores - ours)
    _put([os.getpid()], ours)
    try:
        yield
    finally:
        _put([os.getpid(), *theirs], cores)


def processes_of(server: Server) -> list[int]:
    """Return a server, its workers, and what serves them."""
    with server.database.connect() as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        backend = row[0] if row else 0
        postmaster = _parent_of(backend) if _is_one(backend, "postgres") else None
    cache = redis.Redis.from_url(server.environment["REDIS_URL"]).info("server")["process_id"]
    found = tree_of(server.child.process.pid)
    if postmaster:
        found += tree_of(postmaster)
    if _is_one(cache, "valkey-server") or _is_one(cache, "redis-server"):
        found.append(cache)
    return found


def _is_one(pid: int, name: str) -> bool:
    """Tell whether a process of this machine is called so: a number may be another machine's."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() == name
    return False


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _put(pids: Iterable[int], cores: set[int]) -> None:
    for pid in pids:
        with suppress(OSError):  # It has ended.
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cores)

"""How a server leaves without dropping a request, and how a new one takes its place."""

import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from contextlib import suppress
from ctypes import addressof, create_string_buffer
from pathlib import Path
from typing import Any

from gunicorn.systemd import sd_notify

from config.children import CannotStart

logger = logging.getLogger(__name__)

# How long a new server may take to be ready before it gives up and leaves the old one alone.
READY_S_MAX = 60
# The old one then finishes its requests, for which the server gives it 30 s.
UPGRADE_S_MAX = READY_S_MAX + 60
# What was half connected when newcomers are turned away is connected after this.
HANDSHAKE_S = 0.3

# A program for the kernel, in the words of linux/filter.h: drop a packet of TCP whose flags say
# SYN without ACK, keep every other. It sees a packet from the TCP header on.
DROP_SYN = (
    (0x30, 0, 0, 13),  # load the byte with the flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK of it
    (0x15, 0, 1, 0x02),  # is it SYN alone?
    (0x06, 0, 0, 0),  # then keep nothing
    (0x06, 0, 0, 0xFFFFFFFF),  # else all
)
SO_ATTACH_FILTER = 26


def turn_newcomers_away(listeners: Iterable[socket.socket]) -> None:
    """
    Let nobody else connect to these sockets; who is connected or about to be is still accepted.

    A socket that is closed resets what waits in its queue, and a proxy may then have sent a POST
    that nobody read. So the queue is emptied before: newcomers get no answer from the kernel, ask
    it again after a second, and are refused by then, which every proxy answers by asking the next
    server. Only on Linux and for TCP; elsewhere this does nothing.
    """
    if sys.platform != "linux":
        return
    code = b"".join(struct.pack("HBBI", *step) for step in DROP_SYN)
    program = create_string_buffer(code)
    filter_ = struct.pack("HL", len(DROP_SYN), addressof(program))
    for listener in listeners:
        if listener.family in (socket.AF_INET, socket.AF_INET6):
            with suppress(OSError):  # Forbidden in some sandboxes: then it is as without.
                listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)


def leave_politely(server: Any, *, drain_s: int, leave: Callable[[], None]) -> Callable[[], None]:
    """
    Return what a gunicorn master does when told to end, in place of leave, which ends it.

    For drain_s seconds it serves on and says "not ready", so that those who look stop sending;
    then newcomers are turned away. A master whose sockets are also another's, or the system's,
    leaves at once: the other goes on accepting.
    """

    def leave_in_order() -> None:
        if not (server.reexec_pid or server.master_pid or server.systemd):
            # A worker hears SIGUSR2 as "say that you are not ready".
            server.kill_workers(signal.SIGUSR2)
            time.sleep(drain_s)
            turn_newcomers_away(listener.sock for listener in server.LISTENERS)
            time.sleep(HANDSHAKE_S)
        leave()

    return leave_in_order


def start_again(environment: MutableMapping[str, str], argv: Sequence[str]) -> list[str]:
    """
    Return the command by which a new master starts in the place of this one, with its code anew.

    environment: of the new master; what only served this one is taken out of it.
    """
    if pyz := environment.get("SLUICE_PYZ"):
        # Where the old file was unpacked: the new one unpacks itself elsewhere.
        environment.pop("PYTHONPATH", None)
        return [sys.executable, pyz, "web"]
    return [sys.executable, "-m", "gunicorn", *argv[1:]]


def take_over(predecessor_pid: int, is_ready: Callable[[], bool]) -> None:
    """
    End the master before us as soon as we are ready; when we never are, end our own.

    Runs in a worker of the new master. The old one serves until then, so that code which does not
    start, or lacks a migration, replaces nothing. systemd, where it runs us, is told whom to watch.
    """
    deadline = time.monotonic() + READY_S_MAX
    while not is_ready():
        if time.monotonic() > deadline:
            logger.error("not ready after %d s: the server before us stays", READY_S_MAX)
            os.kill(os.getppid(), signal.SIGTERM)
            return
        time.sleep(0.5)
    # First, or systemd takes the end of the old one for the end of the service, and kills us all.
    sd_notify(f"MAINPID={os.getppid()}\nREADY=1", logger)
    with suppress(ProcessLookupError):
        os.kill(predecessor_pid, signal.SIGTERM)


def upgrade(pid_file: Path, manage: Sequence[str]) -> tuple[int, int]:
    """
    Put the code that lies there now in place of the code that runs; return old and new master.

    manage: the command that runs those of manage.py, with the new code.
    Raises CannotStart, and the old server goes on, when the new one lacks a migration, does not
    start, or is not ready in time.
    """
    old = _pid_in(pid_file)
    if old is None:
        raise CannotStart(f"{pid_file} names no server that runs")
    if subprocess.run([*manage, "migrate", "--check"], check=False).returncode:  # noqa: S603
        raise CannotStart("the new code has migrations to apply: run migrate first")
    os.kill(old, signal.SIGUSR2)
    return old, _wait_for_successor(pid_file, old)


def _wait_for_successor(pid_file: Path, old: int) -> int:
    coming_file = Path(f"{pid_file}.2")
    has_come = False
    deadline = time.monotonic() + UPGRADE_S_MAX
    while time.monotonic() < deadline:
        coming, found = _pid_in(coming_file), _pid_in(pid_file)
        if found is not None and found != old:
            return found
        # Its file is renamed when the old one is gone; before that it only vanishes with its owner.
        if has_come and coming is None and found == old:
            raise CannotStart("the new server gave up, its log says why; the old one goes on")
        has_come = has_come or coming is not None
        time.sleep(0.2)
    raise CannotStart(f"no new server after {UPGRADE_S_MAX} s; the logs say why")


def _pid_in(pid_file: Path) -> int | None:
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid

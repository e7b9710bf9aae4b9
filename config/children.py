"""Child processes that end when we end, also when we are killed."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

STOP_S_MAX = 20
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
# Linux tells a child that its parent died; elsewhere a minder does.
KERNEL_TELLS_OF_DEATH = sys.platform == "linux"


class CannotStart(Exception):
    """Why nothing was started, in one line for a person."""


@dataclass(frozen=True)
class Account:
    """Whom the servers run as when we are root: PostgreSQL refuses to be root."""

    uid: int
    gid: int

    def popen_options(self) -> dict[str, Any]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_run(self, *command: str) -> bool:
        """Ask the system, not the mode bits: there are also ACLs, mounts and missing libraries."""
        try:
            done = subprocess.run(
                command, cwd="/", capture_output=True, check=False, **self.popen_options()
            )
        except OSError:
            return False
        return done.returncode == 0


def server_account() -> Account | None:
    """Return whom the servers run as, None for ourselves. Raises CannotStart without a nobody."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise CannotStart("as root the servers run as the user nobody, who is missing") from None
    return Account(entry.pw_uid, entry.pw_gid)


def die_with_parent(signal_number: int) -> Callable[[], None] | None:
    """Return what a new child does so that the kernel signals it when we die."""
    if not KERNEL_TELLS_OF_DEATH:
        return None
    prctl = ctypes.CDLL(None).prctl
    parent_pid = os.getpid()

    def in_child() -> None:
        # Popen calls this after the change of user, which would have cleared the wish.
        prctl(PR_SET_PDEATHSIG, signal_number)
        # Who dies before the line above is missed by the kernel and seen here.
        if os.getppid() != parent_pid:
            os._exit(1)

    return in_child


class Child:
    """
    A process of its own session that ends when we end, also when we are killed.

    Its own session: Ctrl-C reaches us alone, and we stop what we started in the right order.
    stop_signals: tried in this order; the first is also what it gets when we die.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        stop_signals: tuple[signal.Signals, ...],
        account: Account | None = None,
        **options: Any,
    ) -> None:
        self.stop_signals = stop_signals
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            arguments,
            start_new_session=True,
            preexec_fn=die_with_parent(stop_signals[0]),  # noqa: PLW1509 - we have one thread
            **options,
            **(account.popen_options() if account else {}),
        )
        self.minder = None if KERNEL_TELLS_OF_DEATH else self._minder()

    @property
    def pid(self) -> int:
        return self.process.pid

    def _minder(self) -> "subprocess.Popen[bytes]":
        # The pipe has one writer, us: it reads as ended as soon as we are gone.
        program = "import os, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), int(sys.argv[2]))"
        return subprocess.Popen(
            [sys.executable, "-c", program, str(self.pid), str(int(self.stop_signals[0]))],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def stop(self, patience_s: float = STOP_S_MAX) -> None:
        """End the process and wait until it is gone."""
        if self.minder is not None:
            self.minder.kill()
            self.minder.wait()
        for signal_number in (*self.stop_signals, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(signal_number)
                try:
                    self.process.wait(patience_s)
                except subprocess.TimeoutExpired:
                    continue
        self.process.wait()


def leave_on_signals() -> None:
    """Make the signals that end a process end it the Python way, with everything cleaned up."""

    def leave(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)

    for number in (signal.SIGINT, *ENDING_SIGNALS):
        signal.signal(number, leave)


def end_with_parent() -> None:
    """Let our parent's death end us: make passes signals on, but not the one that kills it."""
    if KERNEL_TELLS_OF_DEATH:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

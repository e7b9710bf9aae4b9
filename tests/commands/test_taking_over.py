"""How a new master ends the one before it, and whom systemd is told to watch."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.lifecycle import take_over

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@contextmanager
def systemd(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Listen where systemd would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(folder / "notify"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        yield listening


@pytest.fixture
def predecessor() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(SLEEP)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class TakingOverTests:
    def test_tells_systemd_whom_to_watch_and_ends_the_one_before(
        self, predecessor: "subprocess.Popen[bytes]", tmp_path: Path, monkeypatch
    ) -> None:
        with systemd(tmp_path, monkeypatch) as listening:
            take_over(predecessor.pid, lambda: True)

            # It lay there before the signal was sent.
            assert listening.recv(1000) == f"MAINPID={os.getppid()}\nREADY=1".encode()
        assert predecessor.wait(10) == -15

    def test_needs_no_systemd(self, predecessor: "subprocess.Popen[bytes]", monkeypatch) -> None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

        take_over(predecessor.pid, lambda: True)

        assert predecessor.wait(10) == -15

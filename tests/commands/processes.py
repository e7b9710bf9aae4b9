"""What the tests of our commands ask the operating system."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from config import embedded

PROJECT = Path(embedded.__file__).parent.parent


def clean_environment(**more: str) -> dict[str, str]:
    """Return our environment without the servers that the tests themselves run beside."""
    ours = ("DATABASE_URL", "REDIS_URL", "SLUICE_ENV", "SLUICE_HOME", "PORT", "SECRET_KEY")
    return {name: text for name, text in os.environ.items() if name not in ours} | more


def processes_naming(text: str) -> list[str]:
    """Return the command lines of living processes that mention the text; zombies have none."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if text in line:
            lines.append(line)
    return lines


def is_alive(pid: int) -> bool:
    """Test whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"


def wait_until(is_so: Callable[[], bool], *, seconds: float = 20) -> None:
    """Return as soon as it is so; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.1)


def free_port() -> int:
    """Return a port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port

"""The embedded servers as processes: what they open, keep, and leave behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from config import embedded

PROJECT = Path(embedded.__file__).parent.parent
SHOW_SERVERS = "echo $DATABASE_URL; echo $REDIS_URL; echo $SLUICE_ENV"


def clean_environment(**more: str) -> dict[str, str]:
    """Return our environment without the servers that the tests themselves run beside."""
    theirs = ("DATABASE_URL", "REDIS_URL", "SLUICE_ENV", "SLUICE_HOME")
    return {name: text for name, text in os.environ.items() if name not in theirs} | more


def exec_arguments(*command: str) -> list[str]:
    return [sys.executable, "-m", "config.embedded", "exec", "--", *command]


def run_exec(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        exec_arguments(*command),
        cwd=PROJECT,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


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


def wait_until_nothing_names(text: str) -> None:
    deadline = time.monotonic() + 15
    while processes_naming(text) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_naming(text) == []


class ExecTests:
    def test_runs_the_command_beside_servers_of_its_own(self, tmp_path: Path) -> None:
        done = run_exec("sh", "-c", SHOW_SERVERS, TMPDIR=str(tmp_path))

        database_url, redis_url, sluice_env = done.stdout.splitlines()
        assert database_url.startswith("postgres://sluice:")
        assert redis_url.startswith("unix://:")
        assert sluice_env == "trial"
        assert done.returncode == 0

    def test_leaves_nothing_behind(self, tmp_path: Path) -> None:
        done = run_exec("sh", "-c", SHOW_SERVERS, TMPDIR=str(tmp_path))

        sockets = done.stdout.splitlines()[0].split("host=")[1]
        assert list(tmp_path.iterdir()) == []
        assert not Path(sockets).exists()
        assert processes_naming(sockets) == []

    def test_answers_with_the_exit_code_of_the_command(self) -> None:
        assert run_exec("sh", "-c", "exit 7").returncode == 7

    def test_keeps_the_servers_that_are_named(self) -> None:
        done = run_exec("sh", "-c", SHOW_SERVERS, DATABASE_URL="postgres://x/y", REDIS_URL="z")

        assert done.stdout.splitlines() == ["postgres://x/y", "z", "trial"]

    def test_ends_the_servers_also_when_it_is_killed(self, tmp_path: Path) -> None:
        supervisor = subprocess.Popen(
            exec_arguments("sh", "-c", "echo $DATABASE_URL; exec sleep 60"),
            cwd=PROJECT,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert supervisor.stdout is not None
        home = Path(supervisor.stdout.readline().strip().split("host=")[1]).parent
        assert len(processes_naming(str(home))) >= 2

        supervisor.send_signal(signal.SIGKILL)
        supervisor.communicate()

        wait_until_nothing_names(str(home))

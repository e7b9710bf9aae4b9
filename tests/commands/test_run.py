"""`make run` as a process: what it starts, tells, refuses, and leaves behind."""

import json
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from config.homes import open_place
from tests.commands.processes import (
    PROJECT,
    clean_environment,
    free_port,
    is_alive,
    processes_naming,
    wait_until,
)


class Run:
    """One `python -m config.run` in a home of its own."""

    def __init__(self, home: Path, port: int, **environment: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "config.run"],
            cwd=PROJECT,
            env=clean_environment(SLUICE_HOME=str(home), PORT=str(port), **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def facts(self) -> dict[str, Any]:
        """Return what it tells to programs, as soon as it serves."""
        file = self.home / "run.json"
        wait_until(lambda: file.exists() or self.process.poll() is not None, seconds=60)
        facts: dict[str, Any] = json.loads(file.read_text())
        return facts

    def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Return the exit code, what was said, and what went wrong."""
        self.process.send_signal(signal_number)
        said, wrong = self.process.communicate(timeout=60)
        return self.process.returncode, said, wrong


def get_status(url: str, **headers: str) -> int:
    parts = urlsplit(url)
    caller = HTTPConnection(parts.netloc, timeout=10)
    try:
        caller.request("GET", parts.path, headers=headers)
        return caller.getresponse().status
    finally:
        caller.close()


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Message
    body: bytes


def send(curl: str) -> Answer:
    """Send what a curl command would, on machines without curl as well."""
    words = shlex.split(curl)
    assert words[:2] == ["curl", "-i"]
    headers = dict(words[n + 1].split(": ", 1) for n, word in enumerate(words) if word == "-H")
    address = urlsplit(words[2])
    caller = HTTPConnection(address.netloc, timeout=10)
    try:
        caller.request("POST", address.path, words[words.index("-d") + 1], headers)
        answer = caller.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        caller.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    if (tmp_path / "home").exists():
        open_place(tmp_path / "home").delete()


def refused(home: Path, **environment: str) -> str:
    """Return the line with which a run that cannot serve ends."""
    done = Run(home, int(environment.pop("PORT", free_port())), **environment)
    said, wrong = done.process.communicate(timeout=60)
    assert done.process.returncode == 1
    assert said == ""
    (line,) = wrong.splitlines()
    return line


class RunTests:
    def test_serves_and_tells_how_to_use_it(self, home: Path) -> None:
        run = Run(home, port := free_port())
        facts = run.facts()

        assert facts["url"] == f"http://127.0.0.1:{port}"
        assert get_status(f"{facts['url']}/readyz") == 200
        assert get_status(facts["admin_url"]) == 200
        assert set(facts["pids"]) == {"supervisor", "gunicorn", "relay", "postgres", "valkey"}
        assert all(is_alive(pid) for pid in facts["pids"].values())
        assert stat.S_IMODE((home / "run.json").stat().st_mode) == 0o600
        code, said, _ = run.stop()
        assert code == 0
        assert "EMBEDDED DATABASE, FOR TRIAL" in said
        for fact in ("url", "api_key", "admin_url", "curl"):
            assert facts[fact] in said
        assert not any(is_alive(pid) for pid in facts["pids"].values())
        assert not (home / "run.json").exists()

    def test_prints_an_order_that_is_taken_once(self, home: Path) -> None:
        run = Run(home, free_port())
        curl = run.facts()["curl"]

        first = send(curl)
        second = send(curl)

        run.stop()
        assert (first.status, first.headers["Idempotent-Replayed"]) == (201, None)
        assert (second.status, second.headers["Idempotent-Replayed"]) == (201, "true")
        assert first.body == second.body

    def test_keeps_orders_and_key_for_the_next_run(self, home: Path) -> None:
        port = free_port()
        run = Run(home, port)
        first = run.facts()
        placed = send(first["curl"])
        assert run.stop(signal.SIGINT)[0] == 0

        run = Run(home, port)
        second = run.facts()
        replayed = send(first["curl"])

        assert run.stop(signal.SIGINT)[0] == 0
        assert second["api_key"] == first["api_key"]
        assert (placed.status, replayed.status) == (201, 201)
        assert replayed.body == placed.body

    def test_leaves_no_process_when_it_is_killed(self, home: Path) -> None:
        run = Run(home, free_port())
        pids = run.facts()["pids"]

        run.stop(signal.SIGKILL)

        wait_until(lambda: not any(is_alive(pid) for pid in pids.values()))
        wait_until(lambda: processes_naming(str(home)) == [])

    def test_starts_again_at_once_after_it_was_killed(self, home: Path) -> None:
        run = Run(home, free_port())
        run.facts()
        run.stop(signal.SIGKILL)
        (home / "run.json").unlink()

        run = Run(home, free_port())

        assert get_status(f"{run.facts()['url']}/readyz") == 200
        run.stop()

    def test_ends_with_an_error_when_a_server_of_it_ends(self, home: Path) -> None:
        run = Run(home, free_port())
        pids = run.facts()["pids"]

        subprocess.run(["kill", "-KILL", str(pids["gunicorn"])], check=True)

        _, wrong = run.process.communicate(timeout=60)
        assert run.process.returncode == 1
        assert "sluice: gunicorn has ended" in wrong
        assert not any(is_alive(pid) for pid in pids.values())

    def test_lends_its_servers_to_other_commands(self, home: Path) -> None:
        run = Run(home, free_port())
        run.facts()

        done = subprocess.run(
            [sys.executable, "-m", "config.run", "manage", "migrate", "--check"],
            cwd=PROJECT,
            env=clean_environment(SLUICE_HOME=str(home)),
            capture_output=True,
            text=True,
            check=False,
        )

        run.stop()
        assert (done.returncode, done.stderr) == (0, "")


class RefusedRunTests:
    def test_says_that_the_port_is_taken(self, home: Path) -> None:
        run = Run(home, port := free_port())
        run.facts()

        line = refused(home.with_name("other"), PORT=str(port))

        run.stop()
        assert line == (
            f"sluice: port {port}: Address already in use. Choose another: make run PORT={port + 1}"
        )

    def test_says_that_the_home_is_in_use(self, home: Path) -> None:
        run = Run(home, free_port())
        facts = run.facts()

        line = refused(home)

        assert line == (f"sluice: already running in {home}: stop it, or set another SLUICE_HOME")
        assert get_status(f"{facts['url']}/readyz") == 200
        run.stop()

    def test_says_that_the_database_does_not_answer(self, home: Path) -> None:
        port = free_port()

        line = refused(
            home, DATABASE_URL=f"postgres://u:secret@127.0.0.1:{port}/x", REDIS_URL="redis://x"
        )

        assert line.startswith("sluice: the database of DATABASE_URL does not answer: ")
        assert "refused" in line
        assert "secret" not in line

    def test_says_which_setting_is_wrong(self, home: Path) -> None:
        assert refused(home, DB_POOL_SIZE="many").startswith("sluice: DB_POOL_SIZE='many': ")
        assert refused(home, DATABASE_URL="mysql://x/y").startswith("sluice: DATABASE_URL: ")

    def test_says_that_it_cannot_write(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        line = refused(tmp_path / "file" / "home")

        assert line == f"sluice: cannot make {tmp_path}/file/home: Not a directory"

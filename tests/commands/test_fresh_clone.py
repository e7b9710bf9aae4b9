"""What a stranger does first: clone, `make run`, send the order that it prints."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.homes import open_place
from tests.commands.processes import PROJECT, clean_environment, free_port, is_alive, wait_until
from tests.commands.test_run import send

pytestmark = [
    pytest.mark.prove,
    pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="not a clone of the repository"),
]


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    subprocess.run(["git", "clone", "--quiet", PROJECT, tmp_path / "sluice"], check=True)
    yield tmp_path / "sluice"
    if (tmp_path / "sluice" / ".local").exists():
        open_place(tmp_path / "sluice" / ".local").delete()
    shutil.rmtree(tmp_path / "sluice")


def make(clone: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    environment = clean_environment()
    for name in ("MAKEFLAGS", "MAKELEVEL", "VIRTUAL_ENV"):
        environment.pop(name, None)
    return subprocess.Popen(["make", *arguments], cwd=clone, env=environment)


class FreshCloneTests:
    def test_takes_an_order_and_keeps_it_though_make_is_killed(self, clone: Path) -> None:
        port = free_port()
        running = clone / ".local" / "run.json"
        first = make(clone, "run", f"PORT={port}")
        wait_until(running.exists, seconds=300)
        facts = json.loads(running.read_text())
        placed = send(facts["curl"])

        first.kill()
        first.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in facts["pids"].values()))
        running.unlink(missing_ok=True)
        second = make(clone, "run", f"PORT={port}")
        wait_until(running.exists, seconds=60)
        replayed = send(facts["curl"])

        os.kill(json.loads(running.read_text())["pids"]["supervisor"], signal.SIGTERM)
        assert second.wait(60) == 0
        assert placed.status == 201
        assert replayed.headers["Idempotent-Replayed"] == "true"
        assert replayed.body == placed.body

    def test_says_in_one_line_that_python_is_too_old(self, clone: Path, tmp_path: Path) -> None:
        old = tmp_path / "python3"
        old.write_text("#!/bin/sh\n[ $1 = -V ] && echo Python 3.9.1\nexit 1\n")
        old.chmod(0o755)

        done = subprocess.run(
            ["make", "run", f"PYTHON={old}"], cwd=clone, capture_output=True, text=True, check=False
        )

        assert done.returncode == 2
        assert done.stderr.splitlines()[0] == (
            f"sluice: needs Python 3.11 or newer, {old} is Python 3.9.1; name one: make PYTHON=..."
        )
        assert not (clone / ".venv").exists()

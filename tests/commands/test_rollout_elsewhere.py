"""docs/rollout-elsewhere.md is followed in a new Django project that has only `rollout/`."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.commands.processes import PROJECT, free_port
from tests.server import drop_database

PAGE = (PROJECT / "docs" / "rollout-elsewhere.md").read_text(encoding="utf-8")
# A block for the shell or of a file that it names, and what the page says that it prints.
STEP = re.compile(
    r"^```(sh|python)\n(?:# (\S+)\n)?(.*?)^```\n(?:→ ([^\n]+)\n)?", re.MULTILINE | re.DOTALL
)
MARK = "--- the next block ---"
LIBPQ = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}


@pytest.fixture
def database() -> Iterator[str]:
    """Return the name of an empty database that belongs to this test."""
    name = f"elsewhere_{secrets.token_hex(6)}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as beside:
        beside.execute(f"CREATE DATABASE {name}")
    yield name
    drop_database(os.environ["DATABASE_URL"], name)


@pytest.fixture
def environment(database: str) -> dict[str, str]:
    """Return what a shell knows in which libpq finds that database."""
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{database}").geturl()
    told = conninfo_to_dict(url)
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PGDATABASE": database,
        "PORT": str(free_port()),
        **{LIBPQ[name]: str(value) for name, value in told.items() if name in LIBPQ},
    }


class RolloutElsewhereTests:
    def test_switches_a_version_in_a_project_that_follows_the_page(self, environment, tmp_path):
        subprocess.run(
            ["django-admin", "startproject", "shop", tmp_path], env=environment, check=True
        )
        shutil.copytree(
            PROJECT / "rollout",
            tmp_path / "rollout",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        steps = STEP.findall(PAGE)

        printed = self.printed_by([script_of(*step[:3]) for step in steps], environment, tmp_path)

        for (*_, block, told), text in zip(steps, printed, strict=True):
            in_order = map(re.escape, re.findall(r"`([^`]+)`", told))
            assert re.search(".*".join(in_order), text, re.DOTALL | re.IGNORECASE), (block, text)

    def printed_by(self, scripts, environment, folder):
        """Return what each step printed; they share one shell, and the server that it started."""
        trouble = folder / "stderr"
        with trouble.open("w") as stderr:
            shell = subprocess.Popen(
                ["bash", "-eu", "-o", "pipefail", "-c", f"\necho '{MARK}'\n".join(scripts)],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        try:
            shell.wait(timeout=120)
        finally:
            # The server that the page starts in the background; none, where it failed earlier.
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            said, _ = shell.communicate()
        assert shell.returncode == 0, said + trouble.read_text()
        return said.split(MARK)


def script_of(language: str, file: str, block: str) -> str:
    """Return a step as a piece of shell: what the page adds to a file is appended to it."""
    return block if language == "sh" else f"cat >> {file} <<'END OF BLOCK'\n{block}END OF BLOCK\n"

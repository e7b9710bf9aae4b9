"""The verbs of an installation, as its entry point has them."""

import subprocess
import sys

import pytest

from config.release import VERSION
from tests.commands.processes import PROJECT, clean_environment, free_port


def sluice(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "config.cli", *arguments],
        cwd=PROJECT,
        env=clean_environment(**({"SLUICE_ENV": "trial"} | environment)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class VerbsTests:
    def test_tells_its_release(self) -> None:
        assert sluice("--version").stdout == f"sluice {VERSION}\n"
        assert f'version = "{VERSION}"' in (PROJECT / "pyproject.toml").read_text()

    @pytest.mark.parametrize("arguments", [(), ("serve",), ("help",)])
    def test_shows_the_verbs_to_who_knows_none(self, arguments: tuple[str, ...]) -> None:
        done = sluice(*arguments)

        assert done.returncode == 2
        for verb in ("web", "relay", "migrate", "manage", "upgrade", "--version"):
            assert f"  {verb}" in done.stderr

    def test_refuses_settings_that_are_wrong_in_one_line(self) -> None:
        done = sluice("manage", "check", SLUICE_ENV="production")

        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "SECRET_KEY: production needs 50 characters" in done.stderr

    def test_manages(self) -> None:
        done = sluice("manage", "check", DATABASE_URL="postgres://127.0.0.1/nothing")

        assert (done.returncode, done.stdout) == (
            0,
            "System check identified no issues (0 silenced).\n",
        )

    def test_upgrades_nothing_where_no_server_runs(self, tmp_path) -> None:
        nowhere = sluice("upgrade")
        stale = tmp_path / "web.pid"
        stale.write_text(f"{2**22 + 1}\n")
        gone = sluice("upgrade", PID_FILE=str(stale), BIND=f"127.0.0.1:{free_port()}")

        assert (nowhere.returncode, gone.returncode) == (1, 1)
        assert nowhere.stderr == "sluice: PID_FILE is not set: neither here nor for the server\n"
        assert gone.stderr == f"sluice: {stale} names no server that runs\n"

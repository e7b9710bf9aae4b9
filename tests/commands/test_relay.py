"""A relay as a process: what it loads, and what it sends to others."""

import subprocess
import sys

from tests.commands.processes import PROJECT, clean_environment

LOADED = """
import sys
from config.cli import manage

try:
    manage(["relay", "--help"])
except SystemExit:
    print(sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[1:])))
"""


class StartTests:
    def test_loads_nothing_that_a_restart_would_wait_for(self) -> None:
        others = ("accounts", "inventory", "orders", "redis", "rest_framework", "rollout")

        done = subprocess.run(
            [sys.executable, "-c", LOADED, *others, "events"],
            cwd=PROJECT,
            env=clean_environment(SLUICE_ENV="trial"),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

        assert done.stdout.splitlines()[-1] == "['events']"

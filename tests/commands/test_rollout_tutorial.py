"""docs/rollout.md: the tour from v1 to v2 is walked as it is written, on the real server."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis

from tests.commands.processes import PROJECT
from tests.conftest import in_database
from tests.server import Server, fresh_database, serving

PAGE = (PROJECT / "docs" / "rollout.md").read_text(encoding="utf-8")
# A block for the shell, and what the arrow after it says that it prints.
STEP = re.compile(r"^```sh\n(.*?)^```\n(?:→ ([^\n]+)\n)?", re.MULTILINE | re.DOTALL)
MARK = "--- the next block ---"
# Beside those that the processes of a parallel run have.
REDIS_DATABASE = 15


@pytest.fixture
def server() -> Iterator[Server]:
    # Generations start at 0 here: an older test's must not be heard.
    rules_url = in_database(os.environ["REDIS_URL"], REDIS_DATABASE)
    with redis.Redis.from_url(rules_url) as client:
        client.flushdb()
    with fresh_database(os.environ["DATABASE_URL"]) as database:
        database.manage("load_demo")
        with serving(database, ROLLOUT_REDIS_URL=rules_url) as started:
            yield started


@pytest.mark.prove
class RolloutTutorialTests:
    def test_is_true(self, server, tmp_path):
        settings, *steps = STEP.findall(PAGE)
        assert "rollout()" in settings[0]

        printed = self.printed_by([block for block, _ in steps], server, tmp_path)

        for (block, told), text in zip(steps, printed, strict=True):
            in_order = map(re.escape, re.findall(r"`([^`]+)`", told))
            assert re.search(".*".join(in_order), text, re.DOTALL | re.IGNORECASE), (block, text)
        served = server.database.rows(
            "SELECT served_version, rules_generation, count(*) FROM orders_order"
            " GROUP BY 1, 2 ORDER BY 2, 1"
        )
        assert served == [
            ("v1", 1, 1),
            ("v2", 1, 1),
            ("v1", 2, 1),
            ("v2", 2, 1),
            ("v2", 3, 2),
            ("v2", 4, 1),
            ("v1", 5, 1),
            ("v2", 6, 1),
            ("v1", 7, 1),
            ("v2", 9, 1),
        ]

    def printed_by(self, blocks, server, folder):
        """Return what each block printed; they share one shell, which stops at a failure."""
        rollout = f'rollout() {{ {sys.executable} {PROJECT / "manage.py"} rollout "$@"; }}\n'
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", rollout + f"\necho '{MARK}'\n".join(blocks)],
            cwd=folder,
            env=server.environment
            | {"URL": f"http://127.0.0.1:{server.port}", "KEY": server.api_key},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split(MARK)

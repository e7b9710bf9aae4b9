"""The oldest servers that are supported: PostgreSQL 15 and Redis 7, as Debian 12 has them."""

import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from tests.commands.processes import PROJECT
from tests.debian import debian_servers

pytestmark = [pytest.mark.prove, pytest.mark.paired]

# What asks the most of both: every use case, the COMMIT that is lost, what is read through Redis.
SUITE = (
    "tests/usecases",
    "tests/faults/test_lost_commit.py",
    "tests/api/test_place_order.py",
    "tests/api/test_cached_reads.py",
)


@pytest.fixture
def servers() -> Iterator[dict[str, str]]:
    with debian_servers() as servers:
        yield servers


class OldestServersTests:
    def test_the_business_holds_on_them(self, servers: dict[str, str]) -> None:
        with psycopg.connect(servers["DATABASE_URL"]) as asking:
            assert asking.info.server_version // 10_000 == 15

        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITE],
            cwd=PROJECT,
            env=os.environ | servers,
            capture_output=True,
            text=True,
            check=False,
        )

        assert ran.returncode == 0, ran.stdout[-3000:]
        assert " passed" in ran.stdout

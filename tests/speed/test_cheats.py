"""The benchmark refuses the figures of a service that does not do what it is measured for."""

import os
import sys
from collections.abc import Iterator

import pytest

from bench import trust
from bench.competitors import Competitor, peer
from bench.load import drive
from config.embedded import embedded_servers
from tests.server import Database, fresh_database

pytestmark = pytest.mark.prove


def cheat(how: str) -> Competitor:
    return peer("Cheat", lambda port: [sys.executable, "-m", "tests.speed.cheat", str(port), how])


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database in a PostgreSQL that may be killed."""
    given = {"REDIS_URL": os.environ["REDIS_URL"]}
    with (
        embedded_servers(tmp_path_factory.mktemp("cheat"), given) as servers,
        fresh_database(servers.environment["DATABASE_URL"]) as fresh,
    ):
        yield fresh


def judge(database: Database, how: str) -> None:
    """Measure a service as the benchmark does; raises trust.Cheat."""
    competitor = cheat(how)
    competitor.fill(database)
    with competitor.serve(database) as running:
        trust.check_durability(competitor, database, running)
    with competitor.serve(database) as running:
        before = trust.count_orders(database, competitor)
        run = drive(running.place, skus=10, seconds=1, connections=4)
        more = trust.count_orders(database, competitor) - before
        trust.check_run(competitor, run, more=more)
    trust.check_books(competitor, database)


class CheatTests:
    def test_an_honest_service_is_measured(self, database: Database) -> None:
        judge(database, "honestly")

    @pytest.mark.parametrize(
        ("how", "verdict"),
        [
            ("without writing", r"acknowledged \d+ orders, of which a crash left 0"),
            ("without durability", r"acknowledged \d+ orders, of which a crash left \d+"),
            ("without stock", r"stock and orders differ"),
        ],
    )
    def test_a_cheat_is_not(self, database: Database, how: str, verdict: str) -> None:
        with pytest.raises(trust.Cheat, match=verdict):
            judge(database, how)

"""A copy of the database, and the way back."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.commands.processes import PROJECT
from tests.server import Database, drop_database, fresh_database

pytestmark = pytest.mark.prove

ORDERS = "SELECT number, status, total_minor FROM orders_order ORDER BY number"
PLACE = "from tests.builders import *; place({'CUP': 1}, account=given_account())"
OPEN = f"from tests.builders import *; given_stock('CUP', on_hand=10); {PLACE}"
READ_FEED = """
import json
from events.feed import read_feed
from events.rules import Audience
from tests.builders import given_account
page = read_feed(audience=Audience(given_account().pk, True, True), after="%s", limit=100)
print(json.dumps([[json.loads(e)["type"] for e in page.envelopes], page.cursor]))
"""
# As if from a server that has counted more transactions than the next one will for years.
COUNTED_FURTHER = "UPDATE events_event SET feed_xid = feed_xid + 1000000000"


def run(database: Database, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of manage.py there, whatever comes of it."""
    return subprocess.run(
        [sys.executable, "manage.py", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "DATABASE_URL": database.url},
        capture_output=True,
        text=True,
        check=False,
    )


def read_feed(database: Database, after: str = "") -> tuple[list[str], str]:
    types, cursor = json.loads(database.manage("shell", "-c", READ_FEED % after).splitlines()[-1])
    return types, cursor


@pytest.fixture(scope="module")
def shop() -> Iterator[Database]:
    with fresh_database(os.environ["DATABASE_URL"]) as database:
        database.manage("shell", "-c", OPEN)
        yield database


@pytest.fixture(scope="module")
def backup(shop: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with shop.connect() as elsewhere:
        elsewhere.execute(COUNTED_FURTHER)
    file = tmp_path_factory.mktemp("backup") / "shop.dump"
    told = shop.manage("backup", str(file))
    assert told == f"{file}: {file.stat().st_size:,} bytes. It holds secrets: keep it safe."
    return file


@pytest.fixture(scope="module")
def restored(backup: Path) -> Iterator[tuple[Database, str]]:
    """Restore it into an empty database; yields that, and what was told."""
    server_url, name = os.environ["DATABASE_URL"], f"prove_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as beside:
        beside.execute(f"CREATE DATABASE {name}")
    database = Database(urlsplit(server_url)._replace(path=f"/{name}").geturl())
    yield database, database.manage("restore", str(backup))
    drop_database(server_url, name)


class BackupTests:
    def test_is_one_file_for_its_owner_alone(self, backup: Path) -> None:
        assert backup.stat().st_mode & 0o777 == 0o600
        assert [file.name for file in backup.parent.iterdir()] == ["shop.dump"]

    def test_refuses_to_write_over_a_file(self, shop: Database, backup: Path) -> None:
        before = backup.read_bytes()

        done = run(shop, "backup", backup)

        assert done.returncode == 1
        assert done.stderr == f"CommandError: {backup} is there already: nothing was written\n"
        assert backup.read_bytes() == before


class RestoreTests:
    def test_makes_a_database_with_the_orders_whose_books_balance(
        self, shop: Database, backup: Path, restored: tuple[Database, str]
    ) -> None:
        database, told = restored

        assert " checks, 0 discrepancies\n" in told
        assert told.endswith(
            f"restored from {backup}."
            " Empty Redis (redis-cli FLUSHDB), then start workers and relays."
        )
        assert len(shop.rows(ORDERS)) == 1
        assert database.rows(ORDERS) == shop.rows(ORDERS)

    def test_lets_readers_of_the_feed_go_on_from_their_cursors(
        self, shop: Database, restored: tuple[Database, str]
    ) -> None:
        database, _ = restored
        last = shop.value(
            "SELECT feed_xid || '-' || position FROM events_event"
            " ORDER BY feed_xid DESC, position DESC LIMIT 1"
        )

        assert read_feed(database) == (["stock.received", "order.placed"], last)
        database.manage("shell", "-c", PLACE)
        assert read_feed(database, last)[0] == ["order.placed"]

    def test_refuses_a_database_that_is_not_empty_unless_told(
        self, shop: Database, backup: Path
    ) -> None:
        shop.manage("shell", "-c", PLACE)

        done = run(shop, "restore", backup)

        assert done.returncode == 1
        assert "CommandError: the database is not empty: --replace drops its " in done.stderr
        assert len(shop.rows(ORDERS)) == 2
        shop.manage("restore", str(backup), "--replace")
        assert len(shop.rows(ORDERS)) == 1

    def test_refuses_while_workers_are_there(self, shop: Database, backup: Path) -> None:
        before = shop.rows(ORDERS)
        with psycopg.connect(shop.url, application_name="sluice-web"):
            done = run(shop, "restore", backup, "--replace")

        assert done.returncode == 1
        assert "workers or relays have 1 sessions in this database: stop them" in done.stderr
        assert shop.rows(ORDERS) == before

    def test_refuses_a_file_that_is_cut_off_before_it_drops_anything(
        self, shop: Database, backup: Path, tmp_path: Path
    ) -> None:
        before = shop.rows(ORDERS)
        whole = backup.read_bytes()
        (tmp_path / "half.dump").write_bytes(whole[: len(whole) * 3 // 4])

        done = run(shop, "restore", tmp_path / "half.dump", "--replace")

        assert done.returncode == 1
        assert done.stderr.startswith("CommandError: pg_restore: error: ")
        assert shop.rows(ORDERS) == before

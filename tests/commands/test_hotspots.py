"""Where the time goes: `hotspots` and `flamegraph` on a server under load."""

import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.debian import debian_servers
from tests.load import Address, send_all
from tests.server import Server, fresh_database, serving

pytestmark = pytest.mark.prove

CALLERS = 6


@contextmanager
def under_load(server: Server) -> Iterator[None]:
    """Let callers place orders, again and again, until the block ends."""
    address = Address(server.port, server.api_key)
    is_over = threading.Event()

    def call() -> None:
        while not is_over.is_set():
            orders = [address.order(secrets.token_hex(8), [("CUP", 1)]) for _ in range(CALLERS)]
            send_all(server.port, orders, callers=CALLERS)

    calling = threading.Thread(target=call)
    calling.start()
    try:
        yield
    finally:
        is_over.set()
        calling.join()


@pytest.fixture(scope="module")
def mood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("planted") / "mood"
    file.write_text("well")
    return file


@pytest.fixture(scope="module")
def server(mood: Path) -> Iterator[Server]:
    """Serve on Debian's PostgreSQL, which counts statements; orders are placed as mood says."""
    with (
        debian_servers("shared_preload_libraries=pg_stat_statements") as servers,
        fresh_database(servers["DATABASE_URL"]) as database,
        serving(
            database,
            DJANGO_SETTINGS_MODULE="tests.planted.slow_settings",
            PLANTED=str(mood.parent),
            PLANTED_PREFIX="hotspots",
            REDIS_URL=servers["REDIS_URL"],
        ) as server,
    ):
        with database.connect() as superuser:
            superuser.execute("CREATE EXTENSION pg_stat_statements")
        server.given_stock("CUP", on_hand=1_000_000)
        yield server


def hotspots(server: Server) -> str:
    pid = str(server.child.pid)
    return server.database.manage("hotspots", "--seconds", "5", "--pid", pid)


class HotspotsTests:
    def test_a_slow_query_is_told_with_its_function_and_route(
        self, server: Server, mood: Path
    ) -> None:
        mood.write_text("queries")
        with under_load(server):
            told = hotspots(server)

        assert told.startswith("database-bound: 2 workers ")
        assert "in PostgreSQL: Timeout PgSleep " in told
        worst = told.splitlines()[4]
        assert "tests.planted.codepaths.planted_query" in worst
        assert "POST /api/v1/orders" in worst
        query_id, mean_ms, calls, share = worst.split()[:4]
        assert int(calls) > 10
        assert float(mean_ms) >= 200
        assert float(share.rstrip("%")) > 50
        assert "pg_sleep" in server.database.value(
            "SELECT min(query) FROM pg_stat_statements WHERE queryid = %s", int(query_id)
        )

    def test_a_slow_loop_is_told_and_drawn(
        self, server: Server, mood: Path, tmp_path: Path
    ) -> None:
        mood.write_text("computes")
        drawing = tmp_path / "flamegraph.svg"
        with under_load(server):
            told = hotspots(server)
            pid = str(server.child.pid)
            recorded = server.database.manage(
                "flamegraph", "--seconds", "3", "--pid", pid, "--output", str(drawing)
            )

        assert told.startswith("CPU-bound: 2 workers ")
        assert recorded == f"{drawing}: 3 s of 2 workers"
        svg = drawing.read_text()
        assert re.search(r"<title>planted_loop ", svg)

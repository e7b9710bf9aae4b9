"""PostgreSQL is restarted under a server again and again: it comes back by itself, whole."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from config.embedded import embedded_servers
from tests.commands.processes import wait_until
from tests.load import Address
from tests.server import Database, Server, fresh_database, serving
from tests.stalls import Stalls
from tests.steady import SteadyOrders

SKU = "RESTART-CUP"
POOL_SIZE = 4


class Restartable(Database):
    """A database whose PostgreSQL, started by somebody else, can be restarted as it was."""

    def __init__(self, url: str, cluster: Path, postmaster: int) -> None:
        super().__init__(url)
        self.cluster = cluster
        self.postmaster = postmaster
        arguments = Path(f"/proc/{postmaster}/cmdline").read_bytes().split(b"\0")[:-1]
        self.command = [argument.decode() for argument in arguments]
        self.process: subprocess.Popen[bytes] | None = None

    def restart(self, *, away_s: float) -> None:
        """Stop it fast, wait, start it again as it was; return when it accepts connections."""
        os.kill(self.postmaster, signal.SIGINT)
        if self.process is not None:
            self.process.wait(30)
        wait_until(lambda: not (self.cluster / "postmaster.pid").exists())
        time.sleep(away_s)
        owner = self.cluster.stat()
        account = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
        self.process = subprocess.Popen(
            self.command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **account
        )
        self.postmaster = self.process.pid
        wait_until(self.accepts)

    def end(self) -> None:
        """End the PostgreSQL that we started; the first one has somebody else."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)

    def accepts(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def sessions(self) -> int:
        """Return how many connections the workers' pools have."""
        return int(
            self.value(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'sluice-web'"
                " AND state = 'idle'"
            )
        )


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restartable]:
    """A database in a PostgreSQL of its own, on this machine."""
    home = tmp_path_factory.mktemp("restarts")
    with ExitStack() as stack:
        given = {"REDIS_URL": os.environ["REDIS_URL"]}
        servers = stack.enter_context(embedded_servers(home, given))
        assert servers.place is not None
        database = Restartable(
            "", servers.place.servers / "postgres", servers.children["postgres"].pid
        )
        stack.callback(database.end)
        fresh = stack.enter_context(fresh_database(servers.environment["DATABASE_URL"]))
        database.url = fresh.url
        yield database


def order_through(server: Server) -> bool:
    order = {"customer": "c-17", "lines": [{"sku": SKU, "quantity": 1}]}
    return server.call("POST", "/api/v1/orders", order)[0] == 201


def prove_restarts(database: Restartable, *, times: int) -> None:
    back_in_s = []
    with serving(database, DB_POOL_SIZE=str(POOL_SIZE)) as server:
        server.given_stock(SKU, on_hand=1_000_000)
        workers = server.worker_pids()
        load = SteadyOrders(Address(server.port, server.api_key), SKU, rate=40, callers=16)

        def restart() -> None:
            for n in range(times):
                database.restart(away_s=(0, 1, 3)[n % 3])
                accepts_at = time.monotonic()
                wait_until(lambda: order_through(server), seconds=30)
                back_in_s.append(time.monotonic() - accepts_at)
                time.sleep(1)

        load.run(restart)

        print(  # noqa: T201 - what a proof says is read
            f"\nPostgreSQL restarted {times} times: first order {max(back_in_s):.2f} s after it"
            f" accepts at most; {len(load.placed)} placed, {dict(load.refused)} refused"
        )
        assert max(back_in_s) <= 10
        assert server.worker_pids() == workers  # Nobody got stuck and was replaced.
        # Every refusal was one that the caller can act on.
        assert set(load.refused) <= {"503 temporarily_unavailable", "503 outcome_unknown"}
        assert server.log_text().count("Worker timeout") == 0
        # As many at once as both pools have connections, and each is served by all of them again.
        together = SteadyOrders(Address(server.port, server.api_key), SKU, rate=1_000_000)
        with Stalls(database).watched() as stalls:
            together.run(lambda: time.sleep(2))
        assert stalls.without_reason(together) == {}
        wait_until(lambda: database.sessions() >= min(2, POOL_SIZE) * len(workers))
        assert database.sessions() <= POOL_SIZE * len(workers)
        found = {row[0] for row in database.rows("SELECT id::text FROM orders_order")}
        assert set(load.placed.values()) <= found
        database.assert_balanced()


@pytest.mark.soak
class DatabaseRestartTests:
    def test_ten_restarts_need_no_hand(self, database: Restartable) -> None:
        prove_restarts(database, times=10)

"""Servers are upgraded and restarted behind nginx while orders come in, and none is refused."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.commands.processes import PROJECT, is_alive, wait_until
from tests.edge import Nginx, nginx
from tests.load import Address
from tests.server import Database, Server, fresh_database
from tests.stalls import Stalls
from tests.steady import SteadyOrders, capacity_of

SKU = "UPGRADE-CUP"


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with fresh_database(os.environ["DATABASE_URL"]) as fresh:
        yield fresh


class Installation(Server):
    """A server with a PID file, as a machine runs one: its master may be another by and by."""

    def __init__(self, database: Database, folder: Path, **settings: str) -> None:
        self.pid_file = folder / f"{len(list(folder.iterdir()))}.pid"
        self.pid_file.touch()
        super().__init__(database, PID_FILE=str(self.pid_file), **settings)

    @property
    def master_pid(self) -> int:
        return int(self.pid_file.read_text())

    def upgrade(self, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "config.cli", "upgrade"],
            cwd=PROJECT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def end(self) -> None:
        """Tell its master to end, and wait until it has."""
        pid = self.master_pid
        os.kill(pid, signal.SIGTERM)
        self.child.process.poll()
        wait_until(lambda: not is_alive(pid), seconds=40)
        self.child.stop(1)

    def stop(self) -> None:
        with suppress(OSError, ValueError):
            self.end()
        super().stop()


@contextmanager
def behind_nginx(
    database: Database, folder: Path, count: int
) -> Iterator[tuple[list[Installation], Nginx]]:
    """Run so many servers of one worker each, or one server of two, behind nginx."""
    with ExitStack() as stack:
        servers = []
        for _ in range(count):
            server = Installation(database, folder, WEB_CONCURRENCY=str(max(1, 2 // count)))
            stack.callback(server.stop)
            servers.append(server)
        edge = stack.enter_context(nginx([server.port for server in servers]))
        yield servers, edge


def report(what: str, times: int, load: SteadyOrders, rate: float) -> None:
    print(  # noqa: T201 - what a proof says is read
        f"\n{what}: {times} times at {rate:.0f} orders/s: {load.total} asked,"
        f" {dict(load.refused)} refused, longest {load.seconds_max:.2f} s"
    )


def prove_upgrades(database: Database, folder: Path, *, times: int, rate: float | None) -> None:
    """Upgrade one server so often; rate None: at 0.7 of what it can take."""
    with behind_nginx(database, folder, 1) as ([server], edge):
        address = Address(edge.port, server.api_key)
        server.given_stock(f"{SKU}-{times}", on_hand=1_000_000)
        rate = rate or 0.7 * capacity_of(address, f"{SKU}-{times}", seconds=5)
        load = SteadyOrders(address, f"{SKU}-{times}", rate=rate)
        masters = [server.master_pid]

        def upgrade() -> None:
            for _ in range(times):
                time.sleep(0.5)
                done = server.upgrade()
                assert done.returncode == 0, done.stderr + server.log_text()[-3000:]
                masters.append(server.master_pid)

        with Stalls(database).watched() as stalls:
            load.run(upgrade)

        report("USR2", times, load, rate)
        assert stalls.without_reason(load) == {}
        assert len(set(masters)) == times + 1
        assert not any(is_alive(pid) for pid in masters[:-1])
        assert len(orders_in(database, load)) == len(load.placed)
        database.assert_balanced()


def prove_restarts(database: Database, folder: Path, *, times: int, rate: float | None) -> None:
    """End and start each of two servers by turns, so often in all."""
    with behind_nginx(database, folder, 2) as (servers, edge):
        address = Address(edge.port, servers[0].api_key)
        servers[0].given_stock(f"{SKU}-TERM-{times}", on_hand=1_000_000)
        rate = rate or 0.7 * capacity_of(address, f"{SKU}-TERM-{times}", seconds=5)
        load = SteadyOrders(address, f"{SKU}-TERM-{times}", rate=rate)

        def restart() -> None:
            for n in range(times):
                time.sleep(2)  # As long as nginx needs to ask the last one again.
                servers[n % 2].end()
                servers[n % 2].start()

        with Stalls(database).watched() as stalls:
            load.run(restart)

        report("TERM and start", times, load, rate)
        assert stalls.without_reason(load) == {}
        assert len(orders_in(database, load)) == len(load.placed)
        database.assert_balanced()


def orders_in(database: Database, load: SteadyOrders) -> set[str]:
    """Return the ids that were acknowledged and are there."""
    found = {row[0] for row in database.rows("SELECT id::text FROM orders_order")}
    return found & set(load.placed.values())


@pytest.mark.prove
class UpgradeTests:
    def test_a_new_master_takes_over_without_a_refusal(
        self, database: Database, tmp_path: Path
    ) -> None:
        prove_upgrades(database, tmp_path, times=1, rate=60)

    def test_systemd_is_told_whom_to_watch(self, database: Database, tmp_path: Path) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="notify-") as folder,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
        ):
            systemd.bind(f"{folder}/notify")
            server = Installation(database, tmp_path, NOTIFY_SOCKET=f"{folder}/notify")
            try:
                done = server.upgrade()
                assert done.returncode == 0, done.stderr
                systemd.settimeout(5)
                told = b""
                while b"MAINPID=" not in told:
                    told = systemd.recv(1000)

                assert told == f"MAINPID={server.master_pid}\nREADY=1".encode()
            finally:
                server.stop()

    def test_servers_restarted_by_turns_refuse_nothing(
        self, database: Database, tmp_path: Path
    ) -> None:
        prove_restarts(database, tmp_path, times=2, rate=60)

    def test_code_that_cannot_serve_replaces_nothing(
        self, database: Database, tmp_path: Path
    ) -> None:
        server = Installation(database, tmp_path)
        try:
            before = server.master_pid
            # The new master reads the environment of the old: what changed is the database.
            with database.connect() as beside:
                beside.execute(
                    "DELETE FROM django_migrations WHERE app = 'sessions' AND name = '0001_initial'"
                )
            done = server.upgrade()

            assert done.returncode == 1
            assert done.stderr.endswith(
                "sluice: the new code has migrations to apply: run migrate first\n"
            )
            assert server.master_pid == before
            assert server.call("GET", "/livez")[0] == 200
        finally:
            with database.connect() as beside:
                beside.execute(
                    "INSERT INTO django_migrations (app, name, applied)"
                    " VALUES ('sessions', '0001_initial', now())"
                )
            server.stop()


@pytest.mark.soak
class ManyUpgradesTests:
    def test_twenty_upgrades_at_0_7_of_capacity_refuse_nothing(
        self, database: Database, tmp_path: Path
    ) -> None:
        prove_upgrades(database, tmp_path, times=20, rate=None)

    def test_twenty_restarts_at_0_7_of_capacity_refuse_nothing(
        self, database: Database, tmp_path: Path
    ) -> None:
        prove_restarts(database, tmp_path, times=20, rate=None)

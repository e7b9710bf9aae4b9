"""
Sluice beside Flask, FastAPI and Gin: orders a second, times of answers, cost and memory.

make bench, or python -m bench.compare [--quick] [--rounds N] [--seconds S]

All run one after the other on one machine, on the same PostgreSQL and Redis, in rounds that
alternate. Compare within one run only. A service that answers what it did not do ends the run.
"""

import argparse
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from bench import competitors as those
from bench import cost, report, trust
from bench.cells import PLAN, QUICK, Cell, Measure
from bench.competitors import Competitor, Running
from bench.load import Run, Target, drive
from bench.pauses import pauses_between
from config.embedded import Servers, embedded_servers, throw_away_home
from tests.load import send_all
from tests.measured import scrape
from tests.server import Database, drop_database

ORDERS_TO_GET = 1_000
EXPORT_S_MAX = 120


class Bench:
    """One run of the benchmark on servers of its own."""

    def __init__(self, servers: Servers, *, seconds: int, folder: Path) -> None:
        self.url = servers.environment["DATABASE_URL"]
        self.pids = {name: child.pid for name, child in servers.children.items()}
        self.seconds = seconds
        self.folder = folder

    # --- Databases --------------------------------------------------------------------------------

    def _admin(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as beside:
            beside.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def named(self, name: str) -> Database:
        """Return a database of these servers."""
        return Database(urlsplit(self.url)._replace(path=f"/{name}").geturl())

    def create(self, name: str) -> Database:
        """Make a database with nothing in it."""
        self._admin("CREATE DATABASE {}", name)
        return self.named(name)

    def drop(self, name: str) -> None:
        """Forget a database."""
        drop_database(self.url, name)

    def checkpoint(self) -> None:
        """Have all written that is only in memory and in the log: nobody measures that."""
        password = (self.folder / "postgres-admin-password").read_text().strip()
        with psycopg.connect(self.url, user="postgres", password=password) as admin:
            admin.autocommit = True
            admin.execute("CHECKPOINT")

    @contextmanager
    def database(self, competitor: Competitor) -> Iterator[Database]:
        """Lend a copy of the database that every round begins with."""
        name = f"bench_{secrets.token_hex(4)}"
        self._admin("CREATE DATABASE {} TEMPLATE {}", name, competitor.tables)
        try:
            yield self.named(name)
        finally:
            self.drop(name)

    # --- Measuring --------------------------------------------------------------------------------

    def round(
        self, number: int, competitor: Competitor, cells: Sequence[Cell]
    ) -> Iterator[Measure]:
        """Measure a service once, on a database that nobody has used."""
        with self.database(competitor) as database:
            with competitor.serve(database) as running:
                # Pools, prepared statements.
                drive(running.place, skus=those.SKUS_MAX, seconds=min(2, self.seconds))
                for cell in cells:
                    yield replace(self.measure(competitor, running, database, cell), round=number)
            trust.check_books(competitor, database)

    def measure(
        self, competitor: Competitor, running: Running, database: Database, cell: Cell
    ) -> Measure:
        """Measure one cell; raise trust.Cheat when the tables do not bear it out."""
        act = self.action(running, database, cell)
        before = trust.count_orders(database, competitor)
        told = scrape(running.metrics_port) if running.metrics_port else None
        used = self.cpu(running)
        run = act()
        used = {name: us - used[name] for name, us in self.cpu(running).items()}
        tree = cost.tree_of(running.pid)
        rss, pss = cost.memory_kib(tree)
        _, workers_pss = cost.memory_kib(tree[1:] or tree)  # Gin is one process.
        more = trust.count_orders(database, competitor) - before
        trust.check_run(competitor, run, orders_each=cell.each, more=more)
        gc = None
        if told is not None:
            time.sleep(1)  # A worker counts its pauses now and then.
            gc = pauses_between(told, scrape(running.metrics_port), seconds=run.seconds)
        units = run.requests * (cell.each or 1)
        return Measure(
            0,
            competitor.name,
            cell.name,
            units / run.seconds,
            run.p50_ms,
            run.p95_ms,
            run.p99_ms,
            run.late / run.requests,
            {name: us / units for name, us in used.items()},
            rss,
            pss,
            workers_pss,
            gc,
        )

    def cpu(self, running: Running) -> dict[str, int]:
        """Return the CPU time so far of the service and of the servers below it."""
        return {"service": cost.cpu_us(cost.tree_of(running.pid)), **self.cpu_of_servers()}

    def cpu_of_servers(self) -> dict[str, int]:
        """Return the CPU time so far of PostgreSQL and Redis."""
        return {name: cost.cpu_us(cost.tree_of(pid)) for name, pid in self.pids.items()}

    # --- What is called ---------------------------------------------------------------------------

    def action(self, running: Running, database: Database, cell: Cell) -> Callable[[], Run]:
        """Return what a cell does: load from wrk, or one call."""
        if cell.action == "export":
            there = database.value("SELECT count(*) FROM orders_order")
            return lambda: export(running.place, orders=there)
        target = self.target(running, cell)
        return lambda: drive(
            target,
            skus=cell.skus,
            seconds=self.seconds,
            rate=cell.rate,
            connections=cell.connections,
        )

    def target(self, running: Running, cell: Cell) -> Target:
        """Return what wrk calls for a cell."""
        place = running.place
        if cell.action == "bulk":
            return replace(place, action="bulk", path=f"{place.path}/bulk")
        if cell.action == "get":
            return replace(place, action="get", paths=self.file(self._orders(running)))
        if cell.action == "list":
            return replace(place, action="get", paths=self.file([f"{place.path}?limit=20"]))
        return place

    def _orders(self, running: Running) -> list[str]:
        """Place orders; return where they are found."""
        requests = [trust.order(running.place, f"get-{n}") for n in range(ORDERS_TO_GET)]
        replies = send_all(running.port, requests, callers=20)
        return [f"{running.place.path}/{reply.document['id']}" for reply in replies]

    def file(self, paths: Sequence[str]) -> Path:
        """Write down what wrk is to get."""
        file = self.folder / "paths"
        file.write_text("".join(f"{path}\n" for path in paths))
        return file


def export(place: Target, *, orders: int) -> Run:
    """Read all orders as NDJSON in one call, 100,000 at most; each counts as a request."""
    caller = HTTPConnection("127.0.0.1", place.port, timeout=EXPORT_S_MAX)
    headers = {"Authorization": f"Bearer {place.api_key}"}
    began = time.monotonic()
    try:
        caller.request("GET", f"{place.path}/export?format=ndjson", headers=headers)
        answer = caller.getresponse()
        lines = 0
        while block := answer.read(1 << 20):
            lines += block.count(b"\n")
    finally:
        caller.close()
    seconds = time.monotonic() - began
    if answer.status != 200 or lines != min(orders, 100_000):
        raise trust.Cheat(f"an export told {answer.status} and {lines} of {orders} orders")
    return Run(lines, seconds, 1000 * seconds, 1000 * seconds, 1000 * seconds, 0, 0)


@contextmanager
def bench_on_own_servers(*, seconds: int) -> Iterator[Bench]:
    """Start PostgreSQL and Redis for one run; every service is started with their addresses."""
    with (
        throw_away_home() as home,
        embedded_servers(home, {}) as servers,
        patch.dict(os.environ, servers.environment),
    ):
        yield Bench(servers, seconds=seconds, folder=home)


def run(
    plan: Mapping[Competitor, Sequence[Cell]],
    *,
    rounds: int,
    seconds: int,
    say: Callable[[str], None],
) -> list[Measure]:
    """Measure services in rounds that alternate; raise trust.Cheat for what cannot be believed."""
    measures: list[Measure] = []
    chosen = list(plan)
    with bench_on_own_servers(seconds=seconds) as bench:
        for competitor in {competitor.tables: competitor for competitor in chosen}.values():
            competitor.fill(bench.create(competitor.tables))
        for competitor in chosen:
            with bench.database(competitor) as database, competitor.serve(database) as running:
                trust.check_durability(competitor, database, running)
            say(f"{competitor.name}: what it acknowledges survives a crash")
        for number in range(1, rounds + 1):
            # Each begins a round once in a while: who comes first finds a cooler machine.
            turn = (number - 1) % len(chosen)
            for competitor in (*chosen[turn:], *chosen[:turn]):
                for measure in bench.round(number, competitor, plan[competitor]):
                    measures.append(measure)
                    say(f"round {number}  {report.line(measure)}")
    return measures


def main(arguments: Sequence[str]) -> None:
    """Measure, print the tables, and keep all of it in results.json."""
    parser = argparse.ArgumentParser(prog="bench.compare", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer peers, one short round")
    # A machine's speed changes: many short rounds tell more of it than few long ones.
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3, help="of each cell in each round")
    told = parser.parse_args(arguments)
    plan, rounds, seconds = (QUICK, 1, 3) if told.quick else (PLAN, told.rounds, told.seconds)
    measures = run(plan, rounds=rounds, seconds=seconds, say=lambda text: print(text, flush=True))
    document = report.document(measures, rounds=rounds, seconds=seconds)
    print(report.table(document))
    if not told.quick:
        report.RESULTS.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

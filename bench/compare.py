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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from bench import competitors as those
from bench import cost, report, trust
from bench.competitors import Competitor, Running
from bench.load import CONNECTIONS, Target, drive
from config.embedded import Servers, embedded_servers
from tests.load import send_all
from tests.server import Database

RATE = 800
BULK = 100
ORDERS_TO_GET = 1_000
RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True, slots=True)
class Cell:
    """
    One thing that is measured. action: of load.lua, "" for placing one order.

    each: orders in one request, 0 where none is placed.
    """

    name: str
    skus: int
    action: str = ""
    rate: int = 0
    each: int = 1
    connections: int = CONNECTIONS


ALIKE = Cell("alike", those.SKUS_MAX)
HOT = Cell("hot", 1)
ALIKE_AT_RATE = Cell("alike at 800/s", those.SKUS_MAX, rate=RATE)
HOT_AT_RATE = Cell("hot at 800/s", 1, rate=RATE)
IN_BULK = Cell("bulk of 100", those.SKUS_MAX, action="bulk", each=BULK, connections=8)
GET = Cell("get", 1, action="get", each=0)
PLACING = (ALIKE, HOT, ALIKE_AT_RATE, HOT_AT_RATE)
PLAN: dict[str, tuple[Cell, ...]] = {
    those.SLUICE.name: (*PLACING, IN_BULK, GET),
    those.GIN_WITH_GUARANTEES.name: PLACING,
    those.GIN_AS_PRINTED.name: PLACING,
    those.FASTAPI.name: (*PLACING, GET),
    those.FLASK.name: PLACING,
}
ALL = (
    those.SLUICE,
    those.GIN_WITH_GUARANTEES,
    those.GIN_AS_PRINTED,
    those.FASTAPI,
    those.FLASK,
)
QUICK = (those.SLUICE, those.GIN_WITH_GUARANTEES, those.FASTAPI)


@dataclass(frozen=True, slots=True)
class Measure:
    """
    One cell of one service in one round.

    units: orders placed, or answers where none is. cpu_us: per unit, by who took it.
    """

    competitor: str
    cell: str
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    rss_kib: int
    pss_kib: int


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

    def fill(self, competitor: Competitor) -> None:
        """Make the database that every round begins with."""
        name = template_of(competitor)
        self._admin("CREATE DATABASE {}", name)
        competitor.fill(Database(urlsplit(self.url)._replace(path=f"/{name}").geturl()))

    @contextmanager
    def database(self, competitor: Competitor) -> Iterator[Database]:
        """Lend a copy of it."""
        name = f"bench_{secrets.token_hex(4)}"
        self._admin("CREATE DATABASE {} TEMPLATE {}", name, template_of(competitor))
        try:
            yield Database(urlsplit(self.url)._replace(path=f"/{name}").geturl())
        finally:
            self._admin("DROP DATABASE {} WITH (FORCE)", name)

    # --- Measuring --------------------------------------------------------------------------------

    def round(self, competitor: Competitor, cells: Sequence[Cell]) -> Iterator[Measure]:
        """Measure a service once, on a database that nobody has used."""
        with self.database(competitor) as database:
            with competitor.serve(database) as running:
                drive(running.place, skus=those.SKUS_MAX, seconds=2)  # Pools, prepared statements.
                for cell in cells:
                    yield self.measure(competitor, running, database, cell)
            trust.check_books(competitor, database)

    def measure(
        self, competitor: Competitor, running: Running, database: Database, cell: Cell
    ) -> Measure:
        """Measure one cell; raise trust.Cheat when the tables do not bear it out."""
        target = self.target(running, cell)
        before = trust.count_orders(database, competitor)
        used = self.cpu(running)
        run = drive(
            target,
            skus=cell.skus,
            seconds=self.seconds,
            rate=cell.rate,
            connections=cell.connections,
        )
        used = {name: us - used[name] for name, us in self.cpu(running).items()}
        rss, pss = cost.memory_kib(cost.tree_of(running.pid))
        more = trust.count_orders(database, competitor) - before
        trust.check_run(competitor, run, orders_each=cell.each, more=more)
        units = run.requests * (cell.each or 1)
        return Measure(
            competitor.name,
            cell.name,
            units / run.seconds,
            run.p50_ms,
            run.p95_ms,
            run.p99_ms,
            {name: us / units for name, us in used.items()},
            rss,
            pss,
        )

    def cpu(self, running: Running) -> dict[str, int]:
        """Return the CPU time so far of the service and of the servers below it."""
        roots = {"service": running.pid, **self.pids}
        return {name: cost.cpu_us(cost.tree_of(pid)) for name, pid in roots.items()}

    def target(self, running: Running, cell: Cell) -> Target:
        """Return what wrk calls for a cell."""
        place = running.place
        if cell.action == "bulk":
            return replace(place, action="bulk", path=f"{place.path}/bulk")
        if cell.action == "get":
            return replace(place, action="get", paths=self._paths(running))
        return place

    def _paths(self, running: Running) -> Path:
        """Place orders, and list where they are found."""
        requests = [trust.order(running.place, f"get-{n}") for n in range(ORDERS_TO_GET)]
        replies = send_all(running.port, requests, callers=20)
        paths = self.folder / "paths"
        base = running.place.path
        paths.write_text("".join(f"{base}/{reply.document['id']}\n" for reply in replies))
        return paths


def template_of(competitor: Competitor) -> str:
    """Return the name of the database that a service's rounds are copies of."""
    return "filled_" + "".join(c for c in competitor.name.lower() if c.isalnum())


def run(
    chosen: Sequence[Competitor], *, rounds: int, seconds: int, say: Callable[[str], None]
) -> list[Measure]:
    """Measure services in rounds that alternate; raise trust.Cheat for what cannot be believed."""
    measures: list[Measure] = []
    with TemporaryDirectory() as folder, embedded_servers(Path(folder) / "home", {}) as servers:
        os.environ.update(servers.environment)  # Every service is started with them.
        bench = Bench(servers, seconds=seconds, folder=Path(folder))
        for competitor in chosen:
            bench.fill(competitor)
            with bench.database(competitor) as database, competitor.serve(database) as running:
                trust.check_durability(competitor, database, running)
            say(f"{competitor.name}: what it acknowledges survives a crash")
        for number in range(rounds):
            # Each begins a round once in a while: who comes first finds a cooler machine.
            turn = number % len(chosen)
            for competitor in (*chosen[turn:], *chosen[:turn]):
                for measure in bench.round(competitor, PLAN[competitor.name]):
                    measures.append(measure)
                    say(f"round {number + 1}  {report.line(measure)}")
    return measures


def main(arguments: Sequence[str]) -> None:
    """Measure, print the table, and write results.json and the chart."""
    parser = argparse.ArgumentParser(prog="bench.compare", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer peers, one short round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10, help="of each cell in each round")
    told = parser.parse_args(arguments)
    chosen, rounds, seconds = (QUICK, 1, 5) if told.quick else (ALL, told.rounds, told.seconds)
    measures = run(chosen, rounds=rounds, seconds=seconds, say=lambda text: print(text, flush=True))
    print(report.table(measures))
    if not told.quick:
        RESULTS.write_text(json.dumps(report.document(measures, rounds, seconds), indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

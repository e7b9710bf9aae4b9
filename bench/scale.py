"""
How the cost of an order grows: with orders in the tables, lines, SKUs, callers; and the limit.

make bench-scale, or python -m bench.scale [--millions 1,10] [--rounds N] [--seconds S]

Everything is measured in each round, so that what is compared met the same machine. The orders
that fill the tables are copies of a real one, in all its tables. Ten million take 30 GB.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from bench import competitors as those
from bench import report, trust
from bench.compare import Bench, bench_on_own_servers
from bench.competitors import PROCESSES, SKUS_MAX, SLUICE, STOCK, Running
from bench.filling import CUSTOMERS, fill_goods, fill_orders
from bench.load import CONNECTIONS, Run, Target, drive
from tests.commands.processes import PROJECT
from tests.server import Database

MILLION = 1_000_000
SAMPLE = 20_000
SKUS_MANY = 100_000
BATCHES = (1, 10, 100)
READERS = 2  # How long a page takes is asked where nobody else is in its way.
RANDOM_ORDERS = """
SELECT id FROM orders_order WHERE number = ANY(ARRAY(
    SELECT low + floor(random() * (high - low + 1))::bigint
      FROM (SELECT min(number) AS low, max(number) AS high FROM orders_order) AS numbers,
           generate_series(1, 2000)))
"""


@dataclass(frozen=True, slots=True)
class Measure:
    """
    One figure of one round. per_second: orders, or answers of what reads.

    before: orders that were there. refused_share: of the calls, those that were told
    to come again. cpu_us: per order or answer, by who took it.
    """

    cell: str
    per_second: float
    p50_ms: float
    p95_ms: float
    cpu_us: dict[str, float]
    refused_share: float = 0.0
    round: int = 0
    before: int = 0
    lines: int = 1
    skus: int = SKUS_MAX
    connections: int = CONNECTIONS
    batch: int = 0

    def __str__(self) -> str:
        cpu = "  ".join(f"{name} {us:.0f}" for name, us in self.cpu_us.items())
        refused = f"  refused {100 * self.refused_share:.0f} %" if self.refused_share else ""
        batch = f"  batches of {self.batch}" if self.batch else ""
        return (
            f"{self.cell:<11} {self.before:>10,} before  {self.lines:>3} lines"
            f"  {self.skus:>6} SKUs"
            f"  {self.connections:>4} callers{batch}  {self.per_second:>7.0f}/s"
            f"  p50 {self.p50_ms:>6.1f}  p95 {self.p95_ms:>6.1f} ms{refused}  CPU-us: {cpu}"
        )


class Scale:
    """One run on servers of its own."""

    def __init__(self, bench: Bench, say: Callable[[str], None]) -> None:
        self.bench = bench
        self.say = say
        self.bytes_per_order = 0.0

    # --- Filling ----------------------------------------------------------------------------------

    def fill(self, sizes: Sequence[int]) -> None:
        """Make a database of each size, and one of many SKUs; refuse when the disk is too small."""
        self._weigh_orders()
        needed = self.bytes_per_order * sum(sizes)
        free = shutil.disk_usage(self.bench.folder).free
        told = f"{needed / 1e9:.0f} GB of orders, {free / 1e9:.0f} GB of disk are free"
        if 2 * free < 3 * needed:
            raise SystemExit(f"{told}: less than half as much again. Take fewer: --millions")
        self.say(told)
        for size in (0, *sizes):
            database = self.bench.create(f"orders_{size}")
            fill_goods(database, skus=SKUS_MAX, on_hand=STOCK)
            fill_orders(database, orders=size, skus=SKUS_MAX)
            self.say(f"{size:,} orders: {_size_of(database) / 1e9:.2f} GB")
        fill_goods(self.bench.create("many_skus"), skus=SKUS_MANY, on_hand=STOCK)
        self.bench.checkpoint()

    def _weigh_orders(self) -> None:
        database = self.bench.create("sample")
        fill_goods(database, skus=SKUS_MAX, on_hand=STOCK)
        before = _size_of(database)
        fill_orders(database, orders=SAMPLE, skus=SKUS_MAX)
        self.bytes_per_order = (_size_of(database) - before) / SAMPLE
        self.bench.drop("sample")

    # --- Measuring --------------------------------------------------------------------------------

    def round(self, number: int, sizes: Sequence[int]) -> Iterator[Measure]:
        """Measure everything once."""
        every = [0, *sizes]
        turn = number % len(every)
        for before in (*every[turn:], *every[:turn]):
            for measure in self.size(before):
                yield replace(measure, round=number, before=before)
        for measure in self.shapes():
            yield replace(measure, round=number)

    def size(self, before: int) -> Iterator[Measure]:
        """Measure placing and reading among so many orders."""
        database = self.bench.named(f"orders_{before}")
        with self.serving(database) as running:
            place = running.place
            yield self.place(running, database, "orders")
            ids = [row[0] for row in database.rows(RANDOM_ORDERS)]
            gets = [f"{place.path}/{order_id}" for order_id in ids]
            yield self.read(running, "get", gets)
            yield self.read(running, "list", [f"{place.path}?limit=20"])
            whose = [f"{place.path}?limit=20&customer=c-{n}" for n in range(0, CUSTOMERS, 50)]
            yield self.read(running, "list of one", whose)
        yield self.alone(database, "alone", batch=BATCHES[-1])

    def shapes(self) -> Iterator[Measure]:
        """Measure orders of other shapes, on tables that are nearly empty."""
        database = self.bench.named("orders_0")
        with self.serving(database) as running:
            for lines in (1, 10, 100):
                yield self.place(running, database, "by lines", lines=lines)
            for connections in (10, 100, 1_000):
                yield self.place(running, database, "by callers", connections=connections)
        many = self.bench.named("many_skus")
        with self.serving(many) as running:
            for skus in (10, SKUS_MAX, SKUS_MANY):
                yield self.place(running, many, "by SKUs", skus=skus)
        for batch in BATCHES:
            yield self.alone(database, "by batch", batch=batch)
        yield self.alone(database, "alone twice", batch=BATCHES[-1], processes=PROCESSES)

    @contextmanager
    def serving(self, database: Database) -> Iterator[Running]:
        """Serve and warm up; look into the books afterwards."""
        with SLUICE.serve(database) as running:
            drive(running.place, skus=SKUS_MAX, seconds=2)
            yield running

    def place(
        self,
        running: Running,
        database: Database,
        cell: str,
        *,
        lines: int = 1,
        skus: int = SKUS_MAX,
        connections: int = CONNECTIONS,
    ) -> Measure:
        """Measure orders a second; raise trust.Cheat when the tables do not bear it out."""
        target = replace(running.place, lines=lines)
        before = trust.count_orders(database, SLUICE)
        run, used = self._driven(running, target, skus=skus, connections=connections)
        taken = run.requests - run.refused
        if run.lost or trust.count_orders(database, SLUICE) - before < taken:
            raise trust.Cheat(f"{taken} orders acknowledged, {run.lost} calls lost")
        return Measure(
            cell,
            taken / run.seconds,
            run.p50_ms,
            run.p95_ms,
            {name: us / max(1, taken) for name, us in used.items()},
            run.refused / max(1, run.requests),
            lines=lines,
            skus=skus,
            connections=connections,
        )

    def read(self, running: Running, cell: str, paths: Sequence[str]) -> Measure:
        """Measure answers a second to what only reads."""
        file = self.bench.file(paths)
        target = replace(running.place, action="get", paths=file)
        run, used = self._driven(running, target, connections=READERS)
        trust.check_run(SLUICE, run, orders_each=0, more=0)
        cpu = {name: us / run.requests for name, us in used.items()}
        return Measure(cell, run.per_second, run.p50_ms, run.p95_ms, cpu, connections=READERS)

    def _driven(
        self, running: Running, target: Target, *, skus: int = SKUS_MAX, connections: int
    ) -> tuple[Run, dict[str, int]]:
        used = self.bench.cpu(running)
        run = drive(
            target,
            skus=skus,
            seconds=self.bench.seconds,
            connections=connections,
            # A thousand callers who never wait would mostly be refused, and keep others out.
            is_patient=connections > CONNECTIONS,
        )
        return run, {name: us - used[name] for name, us in self.bench.cpu(running).items()}

    def alone(self, database: Database, cell: str, *, batch: int, processes: int = 1) -> Measure:
        """Measure the limit: the same batches from processes without HTTP."""
        command = [sys.executable, "-m", "bench.alone", "--batch", str(batch)]
        command += ["--seconds", str(self.bench.seconds)]
        environment = os.environ | {"DATABASE_URL": database.url}
        before = trust.count_orders(database, SLUICE)
        used = self.bench.cpu_of_servers()
        batches = [
            subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE)
            for _ in range(processes)
        ]
        told = [json.loads(one.communicate()[0]) for one in batches]
        used = {name: us - used[name] for name, us in self.bench.cpu_of_servers().items()}
        orders = sum(one["orders"] for one in told)
        if trust.count_orders(database, SLUICE) - before < orders:
            raise trust.Cheat(f"{orders} orders acknowledged without HTTP")
        took_ms = 1000 * sum(one["seconds"] for one in told) / orders * batch
        cpu = {"service": sum(one["cpu_us"] for one in told), **used}
        return Measure(
            cell,
            sum(one["orders"] / one["seconds"] for one in told),
            took_ms,
            took_ms,
            {name: us / orders for name, us in cpu.items()},
            connections=processes,
            batch=batch,
        )


def _size_of(database: Database) -> int:
    return int(database.value("SELECT pg_database_size(current_database())"))


def run(
    sizes: Sequence[int], *, rounds: int, seconds: int, say: Callable[[str], None]
) -> report.Document:
    """Measure in rounds; return everything, with what it was measured on."""
    measures: list[Measure] = []
    with bench_on_own_servers(seconds=seconds) as bench:
        scale = Scale(bench, say)
        scale.fill(sizes)
        for number in range(1, rounds + 1):
            for measure in scale.round(number, sizes):
                measures.append(measure)
                say(f"round {number}  {measure}")
        for name in (*(f"orders_{size}" for size in (0, *sizes)), "many_skus"):
            trust.check_books(those.SLUICE, bench.named(name))
            say(f"{name}: the books balance")
        return {
            "machine": report.machine(),
            "rounds": rounds,
            "seconds": seconds,
            "bytes_per_order": scale.bytes_per_order,
            "measures": [asdict(measure) for measure in measures],
        }


def main(arguments: Sequence[str]) -> None:
    """Measure, print, and keep all of it in scale.json."""
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument("--millions", default="1,10", help="of orders, besides none: 1,10")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6, help="of each figure in each round")
    told = parser.parse_args(arguments)
    sizes = [int(text) * MILLION for text in told.millions.split(",") if text]
    document = run(
        sizes,
        rounds=told.rounds,
        seconds=told.seconds,
        say=lambda text: print(text, flush=True),
    )
    report.SCALE.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

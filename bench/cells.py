"""What is measured: the cells of the comparison, and one measure of one cell."""

from dataclasses import dataclass

from bench import competitors as those
from bench.competitors import Competitor
from bench.load import CONNECTIONS

RATE = 800
BULK = 100


@dataclass(frozen=True, slots=True)
class Cell:
    """
    One thing that is measured. action: what is called, "" for placing one order.

    each: orders in one request, 0 where none is placed.
    """

    name: str
    skus: int = those.SKUS_MAX
    action: str = ""
    rate: int = 0
    each: int = 1
    connections: int = CONNECTIONS


ALIKE = Cell("alike")
HOT = Cell("hot", skus=1)
ALIKE_AT_RATE = Cell(f"alike at {RATE}/s", rate=RATE)
HOT_AT_RATE = Cell(f"hot at {RATE}/s", skus=1, rate=RATE)
IN_BULK = Cell(f"bulk of {BULK}", action="bulk", each=BULK, connections=8)
# Fewer callers than Sluice lets in at a time: what is measured is answers, not its gate.
GET = Cell("get", action="get", each=0, connections=32)
LIST = Cell("list of 20", action="list", each=0, connections=32)
EXPORT = Cell("export", action="export", each=0, connections=1)

PLACING = (ALIKE, HOT, ALIKE_AT_RATE, HOT_AT_RATE)
PLAN: dict[Competitor, tuple[Cell, ...]] = {
    those.SLUICE: (*PLACING, IN_BULK, GET, LIST, EXPORT),
    those.SLUICE_CACHED: (GET,),
    those.SLUICE_TRACED: (ALIKE, ALIKE_AT_RATE),
    those.GIN_WITH_GUARANTEES: PLACING,
    those.GIN_AS_PRINTED: PLACING,
    those.FASTAPI: (*PLACING, GET),
    those.FLASK: PLACING,
}
QUICK: dict[Competitor, tuple[Cell, ...]] = {
    those.SLUICE: PLAN[those.SLUICE],
    those.SLUICE_CACHED: (GET,),
    those.GIN_WITH_GUARANTEES: PLACING,
    those.FASTAPI: (ALIKE, GET),
}


@dataclass(frozen=True, slots=True)
class Measure:
    """
    One cell of one service in one round.

    per_second: orders placed, answers where none is, or orders exported. The times are those of an
    answer. late_share: of the requests, at a fixed rate, those that had to wait to be sent.
    cpu_us: per order or answer, by who took it. Memory at the end: of all its processes, RSS and
    PSS, and PSS of those that serve. gc: see bench.pauses; None of a service that does not tell.
    """

    round: int
    competitor: str
    cell: str
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    late_share: float
    cpu_us: dict[str, float]
    rss_kib: int
    pss_kib: int
    workers_pss_kib: int
    gc: dict[str, float] | None

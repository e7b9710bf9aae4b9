"""What is asked of a release: each figure with its floor and its goal, and what was measured."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SLUICE = "Sluice"
CACHED = "Sluice, orders.get v2"
GIN = "Gin, as printed"
GIN_SAME = "Gin, same guarantees"
FASTAPI = "FastAPI"
FLASK = "Flask"

Figure = Callable[[Mapping[str, Any]], float]
Place = tuple[str, str]  # A service and one of its cells.


@dataclass(frozen=True, slots=True)
class Asked:
    """
    One figure that is asked for: ours, or how many times theirs ours is.

    unit: "x" for a ratio. is_smaller_better: floor and goal are bounds from above.
    """

    what: str
    figure: Figure
    ours: Place
    theirs: Place | None
    floor: float
    goal: float
    unit: str = "x"
    is_smaller_better: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of it: the median, the least and the most over the rounds; None: not measured."""

    what: str
    against: str
    floor: float
    goal: float
    unit: str
    is_smaller_better: bool
    measured: tuple[float, float, float] | None

    @property
    def reached(self) -> str:
        """What the median reaches: goal, floor, neither; "" when it was not measured."""
        if self.measured is None:
            return ""
        for name, bound in (("goal", self.goal), ("floor", self.floor)):
            if self.measured[0] <= bound if self.is_smaller_better else self.measured[0] >= bound:
                return name
        return "neither"

    def told(self, value: float) -> str:
        """Return a value with its unit."""
        digits = 0 if self.unit == "MB" else 2
        return f"{value:.{digits}f} {'×' if self.unit == 'x' else self.unit}"

    def bound(self, value: float) -> str:
        """Return a bound with its unit, and on which side of it one should be."""
        return f"{'≤' if self.is_smaller_better else '≥'} {value:g} {self.told(0).split()[1]}"

    def __str__(self) -> str:
        against = f", against {self.against}" if self.against else ""
        if self.measured is None:
            return f"{self.what}{against}: not measured"
        median, least, most = map(self.told, self.measured)
        return (
            f"{self.what}{against}: {median} ({least} to {most});"
            f" floor {self.bound(self.floor)}, goal {self.bound(self.goal)}: {self.reached}"
        )


def per_second(measure: Mapping[str, Any]) -> float:
    """Return how many a second."""
    return float(measure["per_second"])


def p95_ms(measure: Mapping[str, Any]) -> float:
    """Return the 95th percentile of the times of answers."""
    return float(measure["p95_ms"])


def workers_pss_mb(measure: Mapping[str, Any]) -> float:
    """Return the memory of the processes that serve, in millions of bytes."""
    return float(measure["workers_pss_kib"]) * 1024 / 1e6


def of_gc(name: str, factor: float = 1) -> Figure:
    """Return a reader of what the garbage collector took."""
    return lambda measure: factor * float(measure["gc"][name])


def asked() -> Iterator[Asked]:
    """Yield all that is asked of the comparison."""
    alike, hot = "alike", "hot"
    for peer, floor, goal in (
        (GIN_SAME, 1.1, 1.4),
        (GIN, 0.85, 1.1),
        (FASTAPI, 1.8, 2.2),
        (FLASK, 3.0, 4.0),
    ):
        yield Asked("orders/s, SKUs alike", per_second, (SLUICE, alike), (peer, alike), floor, goal)
    yield Asked("orders/s, one hot SKU", per_second, (SLUICE, hot), (GIN_SAME, hot), 3.5, 4.5)
    for name, cell, floor, goal in (
        ("SKUs alike", "alike at 800/s", 2.0, 1.2),
        ("one hot SKU", "hot at 800/s", 0.2, 0.1),
    ):
        yield Asked(
            f"p95 at 800/s, {name}",
            p95_ms,
            (SLUICE, cell),
            (GIN_SAME, cell),
            floor,
            goal,
            is_smaller_better=True,
        )
    bulk = (SLUICE, "bulk of 100")
    yield Asked(
        "orders/s in bulk of 100, them one by one", per_second, bulk, (GIN_SAME, alike), 3, 5
    )
    yield Asked(
        "GET of one order, both from Redis", per_second, (CACHED, "get"), (FASTAPI, "get"), 0.8, 1.2
    )
    ours = (SLUICE, alike)
    for what, figure, floor, goal, unit in (
        ("GC pause, mean", of_gc("mean_ms"), 0.12, 0.05, "ms"),
        ("GC pause, p99 at most", of_gc("p99_ms"), 1, 0.3, "ms"),
        ("GC, share of the time", of_gc("share", 100), 1, 0.3, "%"),
        ("PSS of two workers", workers_pss_mb, 110, 90, "MB"),
    ):
        yield Asked(what, figure, ours, None, floor, goal, unit, is_smaller_better=True)


def verdicts(results: Mapping[str, Any], scale: Mapping[str, Any]) -> list[Verdict]:
    """Return what became of all that is asked, for the services that ran."""
    by_round: dict[Place, dict[int, Mapping[str, Any]]] = {}
    for measure in results.get("measures", ()):
        place = (measure["competitor"], measure["cell"])
        by_round.setdefault(place, {})[measure["round"]] = measure
    told = []
    for one in asked():
        ours = by_round.get(one.ours, {})
        theirs = by_round.get(one.theirs, {}) if one.theirs else None
        # A ratio is that of one round: both met the same machine.
        figures = [
            one.figure(measure) / (one.figure(theirs[number]) if theirs is not None else 1)
            for number, measure in ours.items()
            if theirs is None or number in theirs
        ]
        told.append(_verdict(one, figures))
    told.append(_at_ten_million(scale))
    return told


def _verdict(one: Asked, figures: list[float]) -> Verdict:
    measured = (statistics.median(figures), min(figures), max(figures)) if figures else None
    return Verdict(
        one.what,
        one.theirs[0] if one.theirs else "",
        one.floor,
        one.goal,
        one.unit,
        one.is_smaller_better,
        measured,
    )


def _at_ten_million(scale: Mapping[str, Any]) -> Verdict:
    """Return the verdict on what bench.scale measured."""
    speeds: dict[tuple[int, int], float] = {}
    for measure in scale.get("measures", ()):
        if measure["cell"] == "orders":
            speeds[measure["round"], measure["before"]] = measure["per_second"]
    figures = [
        speed / speeds[number, 0]
        for (number, before), speed in speeds.items()
        if before == 10_000_000 and (number, 0) in speeds
    ]
    ten_million = Asked("orders/s with 10 million orders", per_second, ("", ""), None, 0.85, 0.95)
    told = _verdict(ten_million, figures)
    return Verdict(told.what, "empty tables", *_rest(told))


def _rest(told: Verdict) -> tuple[float, float, str, bool, tuple[float, float, float] | None]:
    return told.floor, told.goal, told.unit, told.is_smaller_better, told.measured

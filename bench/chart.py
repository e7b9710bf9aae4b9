"""
Draw docs/images/benchmark.svg, and fill the tables of docs/performance.md, from what was kept.

python -m bench.chart

A test compares both with bench/results.json and bench/scale.json: a figure cannot stay behind.
"""

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from bench.asked import FASTAPI, FLASK, GIN, GIN_SAME, SLUICE, verdicts
from bench.report import RESULTS, SCALE, Document, kept, rows, spread

PROJECT = Path(__file__).parent.parent
IMAGE = PROJECT / "docs" / "images" / "benchmark.svg"
PAGE = PROJECT / "docs" / "performance.md"
BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

# --- Tables --------------------------------------------------------------------------------------

Row = Sequence[str]


def markdown(head: Row, body: Sequence[Row]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def conditions(document: Document) -> str:
    """Return what a document was measured on, as a sentence."""
    if not document:
        return "Not measured yet.\n"
    machine = document["machine"]
    return (
        f"{machine['cores']} cores ({machine['processor']}) for all, load and servers together;"
        f" Linux {machine['kernel']}, Python {machine['python']}. Rounds: {document['rounds']}, of"
        f" {document['seconds']} s for each figure; medians, in brackets the least and the most.\n"
    )


def asked_table(results: Document, scale: Document) -> str:
    """Return what is asked beside what was measured."""
    body = []
    for verdict in verdicts(results, scale):
        told = "not measured"
        if verdict.measured is not None:
            median, least, most = map(verdict.told, verdict.measured)
            told = f"{median} ({least} to {most})"
        bounds = (verdict.bound(verdict.floor), verdict.bound(verdict.goal))
        body.append([verdict.what, verdict.against, *bounds, told, verdict.reached])
    return markdown(["figure", "against", "floor", "goal", "measured", "reaches"], body)


def services_table(results: Document) -> str:
    """Return every service and cell."""

    def of(name: str) -> Callable[[Mapping[str, Any]], float]:
        return lambda measure: measure[name]

    body = []
    for competitor, cell, measures in rows(results):
        cpu = [
            f"{statistics.median(m['cpu_us'][name] for m in measures):.0f}"
            for name in measures[0]["cpu_us"]
        ]
        memory = [
            f"{statistics.median(m[name] for m in measures) * 1024 / 1e6:.0f}"
            for name in ("workers_pss_kib", "pss_kib", "rss_kib")
        ]
        body.append(
            [
                competitor,
                cell,
                spread(measures, of("per_second"), ",.0f"),
                f"{statistics.median(m['p50_ms'] for m in measures):.1f}",
                spread(measures, of("p95_ms"), ".1f"),
                f"{statistics.median(m['p99_ms'] for m in measures):.1f}",
                " + ".join(cpu),
                " · ".join(memory),
            ]
        )
    head = ["service", "cell", "per second", "p50 ms", "p95 ms", "p99 ms", "CPU µs", "MB"]
    return markdown(head, body)


def collector_table(results: Document) -> str:
    """Return what the garbage collector took, in each cell of Sluice."""
    body = []
    for competitor, cell, measures in rows(results):
        told = [measure["gc"] for measure in measures if measure["gc"]]
        if not told:
            continue

        def median(name: str, told: list[dict[str, float]] = told) -> float:
            return statistics.median(gc[name] for gc in told)

        body.append(
            [
                competitor,
                cell,
                f"{median('count'):.0f}",
                f"{median('mean_ms'):.2f}",
                f"{median('p99_ms'):g}",
                f"{100 * median('share'):.2f} %",
            ]
        )
    return markdown(["service", "cell", "pauses", "mean ms", "p99 ms ≤", "of the time"], body)


# How the rows of a table of growth are told apart: the cells, and what changes in them.
GROWTHS = {
    "sizes": (
        "orders before",
        ("orders", "get", "list", "list of one", "alone"),
        lambda m: f"{m['before']:,}",
    ),
    "shapes": (
        "what changes",
        ("by lines", "by SKUs", "by callers"),
        lambda m: {
            "by lines": f"{m['lines']} lines an order",
            "by SKUs": f"{m['skus']:,} SKUs",
            "by callers": f"{m['connections']:,} callers",
        }[m["cell"]],
    ),
    "limit": (
        "without HTTP",
        ("by batch", "alone twice"),
        lambda m: f"batches of {m['batch']}, processes: {m['connections']}",
    ),
}


def growth_table(scale: Document, name: str) -> str:
    """Return one of GROWTHS: each row beside the first of its cell, round by round."""
    title, cells, label = GROWTHS[name]
    body = []
    for cell in cells:
        found: dict[str, dict[int, dict[str, Any]]] = {}
        for measure in scale.get("measures", ()):
            if measure["cell"] == cell:
                found.setdefault(label(measure), {})[measure["round"]] = measure
        first = found[min(found, key=_numbers_in)] if found else {}
        for key in sorted(found, key=_numbers_in):
            measures = list(found[key].values())
            ratios = [
                measure["per_second"] / first[number]["per_second"]
                for number, measure in found[key].items()
            ]
            refused = statistics.median(m["refused_share"] for m in measures)
            body.append(
                [
                    cell,
                    key,
                    spread(measures, lambda m: m["per_second"], ",.0f"),
                    f"{statistics.median(ratios):.2f}",
                    f"{statistics.median(m['p50_ms'] for m in measures):.1f}",
                    f"{statistics.median(m['p95_ms'] for m in measures):.1f}",
                    " + ".join(
                        f"{statistics.median(m['cpu_us'][who] for m in measures):.0f}"
                        for who in measures[0]["cpu_us"]
                    ),
                    f"{100 * refused:.0f} %",
                ]
            )
    head = ["cell", title, "per second", "of the first", "p50 ms", "p95 ms", "CPU µs", "refused"]
    return markdown(head, body)


def _numbers_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text.replace(",", ""))]


def page_with(text: str, results: Document, scale: Document) -> str:
    """Return the page with its blocks filled."""
    blocks = {
        "conditions": conditions(results),
        "asked": asked_table(results, scale),
        "services": services_table(results),
        "collector": collector_table(results),
        "scale": conditions(scale),
        **{name: growth_table(scale, name) for name in GROWTHS},
    }
    return BLOCK.sub(lambda block: block[1] + blocks[block[2]] + block[3], text)


# --- The image -----------------------------------------------------------------------------------

WIDTH, LEFT, RIGHT, BAR, GAP = 720, 170, 90, 20, 8
SERVICES = (SLUICE, GIN_SAME, GIN, FASTAPI, FLASK)
PANELS = (
    ("Orders a second, all SKUs alike", "alike", "per_second", ",.0f"),
    ("Orders a second, one hot SKU", "hot", "per_second", ",.0f"),
    ("95th percentile at 800 orders a second, in ms: shorter is better", "alike at 800/s",
     "p95_ms", ",.1f"),
)  # fmt: skip
STYLE = """
  .ground { fill: #ffffff } .ours { fill: #1a7f5a } .theirs { fill: #9aa7b5 }
  .range { stroke: #24292f; stroke-width: 1.5 } text { fill: #24292f; font: 13px sans-serif }
  .title { font-weight: bold } .note { font-size: 11px }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .ours { fill: #3fb68b } .theirs { fill: #5b6673 }
    .range { stroke: #e6edf3 } text { fill: #e6edf3 }
  }
"""


def image(results: Document) -> str:
    """Return the chart: a bar for each service, and a line from its worst to its best round."""
    found = {(competitor, cell): measures for competitor, cell, measures in rows(results)}
    parts: list[str] = []
    y = 28
    for title, cell, figure, form in PANELS:
        bars = [
            (service, [measure[figure] for measure in found[service, cell]])
            for service in SERVICES
            if (service, cell) in found
        ]
        longest = max((max(told) for _, told in bars), default=1)
        scale = (WIDTH - LEFT - RIGHT) / longest
        parts.append(f'<text class="title" x="16" y="{y}">{escape(title)}</text>')
        y += 12
        for service, told in bars:
            parts += _bar(service, told, y=y, scale=scale, form=form)
            y += BAR + GAP
        y += 26
    note = "Not measured yet"
    if results:
        cores = results["machine"]["cores"]
        note = f"Rounds: {results['rounds']}, on {cores} cores, load and servers together"
    parts.append(f'<text class="note" x="16" y="{y - 12}">{escape(note)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img"'
        f' width="{WIDTH}" height="{y}">\n<title>Sluice beside Gin, FastAPI and Flask</title>\n'
        f'<style>{STYLE}</style>\n<rect class="ground" width="{WIDTH}" height="{y}" rx="8"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _bar(service: str, told: Sequence[float], *, y: int, scale: float, form: str) -> list[str]:
    median = statistics.median(told)
    least, most = LEFT + min(told) * scale, LEFT + max(told) * scale
    middle = y + BAR / 2
    kind = "ours" if service == SLUICE else "theirs"
    label, width = format(median, form), median * scale
    return [
        f'<text x="{LEFT - 10}" y="{middle + 4.5}" text-anchor="end">{escape(service)}</text>',
        f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" rx="3"/>',
        f'<line class="range" x1="{least:.1f}" x2="{most:.1f}" y1="{middle}" y2="{middle}"/>',
        f'<text x="{most + 8:.1f}" y="{middle + 4.5}">{label}</text>',
    ]


def main() -> None:
    """Draw and fill."""
    results, scale = kept(RESULTS), kept(SCALE)
    IMAGE.write_text(image(results), encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page_with(page, results, scale), encoding="utf-8")


if __name__ == "__main__":
    main()

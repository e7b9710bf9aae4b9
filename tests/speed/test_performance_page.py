"""What the page and the chart tell of speed is what was measured."""

from bench.chart import BLOCK, GROWTHS, IMAGE, PAGE, growth_table, image, page_with
from bench.report import RESULTS, SCALE, kept


class PageTests:
    def test_tells_what_was_measured(self) -> None:
        page = PAGE.read_text(encoding="utf-8")

        assert page == page_with(page, kept(RESULTS), kept(SCALE)), "python -m bench.chart"
        assert len(BLOCK.findall(page)) == page.count("<!-- measured: ")

    def test_draws_what_was_measured(self) -> None:
        assert IMAGE.read_text(encoding="utf-8") == image(kept(RESULTS)), "python -m bench.chart"


def placed(round_: int, before: int, per_second: float) -> dict[str, object]:
    told = {"cell": "orders", "round": round_, "before": before, "per_second": per_second}
    times = {"p50_ms": 1.0, "p95_ms": 2.0, "refused_share": 0.0}
    return told | times | {"cpu_us": {"service": 400.0, "postgres": 200.0}}


class GrowthTests:
    def test_is_told_beside_the_first_of_the_same_round(self) -> None:
        measures = [
            placed(1, 10_000_000, 450), placed(1, 0, 500),
            placed(2, 0, 1000), placed(2, 10_000_000, 900),
        ]  # fmt: skip

        _, _, empty, full = growth_table({"measures": measures}, "sizes").splitlines()

        assert empty.startswith("| orders | 0 | 750 (500 to 1,000) | 1.00 |")
        assert full.startswith("| orders | 10,000,000 | 675 (450 to 900) | 0.90 |")

    def test_has_every_cell_that_is_measured_in_one_table(self) -> None:
        told = {measure["cell"] for measure in kept(SCALE).get("measures", ())}

        assert told <= {cell for _, cells, _ in GROWTHS.values() for cell in cells}

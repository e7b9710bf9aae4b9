"""What is asked of speed is judged by medians, round by round."""

import pytest

from bench.asked import Asked, _verdict, per_second, verdicts
from bench.pauses import pauses_between
from tests.measured import Scrape


class VerdictTests:
    @pytest.mark.parametrize(
        ("is_smaller_better", "figures", "reached"),
        [
            (False, [1.0, 1.5, 1.1], "floor"),
            (False, [1.4], "goal"),
            (False, [1.09], "neither"),
            (True, [1.3, 0.2, 1.2], "floor"),
            (True, [1.1], "goal"),
            (True, [1.41], "neither"),
            (False, [], ""),
        ],
    )
    def test_judges_the_median(self, is_smaller_better, figures, reached) -> None:
        bounds = (1.4, 1.1) if is_smaller_better else (1.1, 1.4)
        ours = ("Sluice", "alike")

        asked = Asked("it", per_second, ours, None, *bounds, is_smaller_better=is_smaller_better)

        assert _verdict(asked, figures).reached == reached

    def test_compares_what_met_the_same_machine(self) -> None:
        def measure(round_: int, competitor: str, per_second: float) -> dict[str, object]:
            told = {"round": round_, "competitor": competitor, "cell": "hot"}
            return told | {"per_second": per_second}

        measures = [
            measure(1, "Sluice", 400), measure(1, "Gin, same guarantees", 100),
            measure(2, "Sluice", 100), measure(2, "Gin, same guarantees", 20),
            measure(3, "Sluice", 200),
        ]  # fmt: skip

        (hot,) = (v for v in verdicts({"measures": measures}, {}) if v.measured)

        assert hot.measured == (4.5, 4.0, 5.0)
        assert str(hot) == (
            "orders/s, one hot SKU, against Gin, same guarantees: 4.50 × (4.00 × to 5.00 ×);"
            " floor ≥ 3.5 ×, goal ≥ 4.5 ×: goal"
        )


METRICS = """
# TYPE worker_gc_pause_seconds histogram
worker_gc_pause_seconds_bucket{{generation="0",le="0.001"}} {quick}
worker_gc_pause_seconds_bucket{{generation="0",le="0.0025"}} {all}
worker_gc_pause_seconds_bucket{{generation="0",le="+Inf"}} {all}
worker_gc_pause_seconds_count{{generation="0"}} {all}
worker_gc_pause_seconds_sum{{generation="0"}} {sum}
"""


class PausesTests:
    def test_are_those_between_two_looks(self) -> None:
        before = Scrape(METRICS.format(quick=10, all=10, sum=0.01))
        after = Scrape(METRICS.format(quick=108, all=110, sum=0.11))

        told = pauses_between(before, after, seconds=5)

        assert told["count"] == 100
        assert told["mean_ms"] == pytest.approx(1)
        assert told["p99_ms"] == 2.5
        assert told["share"] == pytest.approx(0.01)

    def test_may_be_none(self) -> None:
        same = Scrape(METRICS.format(quick=10, all=10, sum=0.01))

        assert pauses_between(same, same, seconds=5)["p99_ms"] == 0

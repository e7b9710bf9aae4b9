"""The benchmark runs, on the service as it is now: its statements, calls and checks hold."""

import shutil

import pytest

from bench import competitors as those
from bench.asked import verdicts
from bench.cells import PLAN
from bench.compare import run
from bench.report import document, table

pytestmark = pytest.mark.prove


class CompareTests:
    def test_measures_sluice_in_every_cell(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert shutil.which("wrk"), "wrk is not installed: make prove-deps"
        ours = (those.SLUICE, those.SLUICE_CACHED, those.SLUICE_TRACED)
        plan = {competitor: PLAN[competitor] for competitor in ours}

        measures = run(plan, rounds=1, seconds=1, say=print)

        told = [(measure.competitor, measure.cell) for measure in measures]
        assert told == [(one.name, cell.name) for one, cells in plan.items() for cell in cells]
        for measure in measures:
            assert measure.per_second > 0
            assert measure.gc is not None
            assert 20_000 < measure.workers_pss_kib < measure.pss_kib < measure.rss_kib
        results = document(measures, rounds=1, seconds=1)
        # Alone it is compared with nobody, but tells what it is by itself.
        assert sum(verdict.measured is not None for verdict in verdicts(results, {})) == 4
        assert "Sluice, tracing 5 %" in table(results)

"""The measurement of growth runs, on the service as it is now."""

import shutil

import pytest

from bench.scale import run

pytestmark = pytest.mark.prove


class ScaleTests:
    def test_measures_every_figure(self) -> None:
        assert shutil.which("wrk"), "wrk is not installed: make prove-deps"

        document = run([2_000], rounds=1, seconds=2, say=print)

        # A thousand callers may all be told to come again.
        assert all(
            measure["per_second"] > 0 or measure["refused_share"] == 1
            for measure in document["measures"]
        )
        assert 1_000 < document["bytes_per_order"] < 10_000
        assert {measure["before"] for measure in document["measures"]} == {0, 2_000}

"""config.collector: when garbage is looked for, and among what."""

import gc

import pytest

from config import collector


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The generations that were looked at."""
    seen: list[int] = []
    monkeypatch.setattr(gc, "collect", seen.append)
    return seen


class RestTests:
    @pytest.mark.parametrize(
        ("counts", "generations"),
        [
            ((99, 90, 90), []),  # Next to nothing is new.
            ((100, 0, 0), [0]),
            ((100, 19, 90), [2]),
            ((100, 19, 49), [0]),
            ((100, 20, 49), [1]),
            ((100, 0, 50), [2]),
        ],
    )
    def test_looks_as_far_back_as_it_is_worth(self, monkeypatch, looks, counts, generations):
        monkeypatch.setattr(gc, "get_count", lambda: counts)

        collector.rest()

        assert looks == generations

    def test_is_all_there_is_short_of_a_flood(self, monkeypatch):
        told = []
        monkeypatch.setattr(gc, "set_threshold", lambda *counts: told.append(counts))

        collector.settle()

        assert told == [(30_000, 20, 50)]

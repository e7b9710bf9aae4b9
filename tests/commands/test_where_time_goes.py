"""What `hotspots` concludes, and what it and `flamegraph` refuse."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import TestCase

from config.hotspots import Sample, Statement, verdict
from config.workers import CoreTime


def seen(*, used_s: float, queued_s: float = 0.0, waits: int = 0, workers: int = 2) -> Sample:
    return Sample(
        seconds=10.0,
        looks=100,
        workers=workers,
        cores=CoreTime(used_s, queued_s) if workers else None,
        waits=Counter({"computing": waits}),
        statements=[],
    )


class VerdictTests:
    @pytest.mark.parametrize(
        ("sample", "word"),
        [
            (seen(used_s=19, waits=50), "CPU-bound"),
            # Full, even where more calls are in the database: they would wait for us next.
            (seen(used_s=17, waits=400), "CPU-bound"),
            # A core that others had is one that was wanted.
            (seen(used_s=9, queued_s=10, waits=400), "CPU-bound"),
            (seen(used_s=5, waits=20), "CPU-bound"),
            (seen(used_s=2, waits=700), "database-bound"),
            (seen(used_s=0.2, waits=2), "idle"),
            (seen(used_s=0, waits=90, workers=0), "no verdict"),
        ],
    )
    def test_follows_from_who_was_busy(self, sample: Sample, word: str) -> None:
        assert verdict(sample).startswith(f"{word}: ")

    def test_says_from_what_it_follows(self) -> None:
        assert verdict(seen(used_s=2, queued_s=0.5, waits=700)) == (
            "database-bound: 2 workers had 0.20 cores and waited for 0.05, 12% of what they"
            " can use; 7.00 calls at a time were in PostgreSQL"
        )

    def test_says_when_others_have_the_cores(self) -> None:
        others = "Others on this machine have the cores they wait for"

        assert verdict(seen(used_s=5, queued_s=12, waits=20)).endswith(others)
        assert others not in verdict(seen(used_s=12, queued_s=5, waits=20))


class SenderTests:
    TEXT = "SELECT /*function='orders.a.first',route='GET /x'*/ 1"

    def test_of_a_statement_is_who_was_seen_most(self) -> None:
        seen_senders = Counter({("orders.a.often", "GET /y"): 3, ("orders.a.first", "GET /x"): 1})

        assert Statement(1, 1, 1.0, self.TEXT, seen_senders).sender == ("orders.a.often", "GET /y")

    def test_is_who_came_first_when_nobody_was_seen(self) -> None:
        assert Statement(1, 1, 1.0, self.TEXT, Counter()).sender == ("orders.a.first", "GET /x")


@pytest.fixture
def childless() -> Iterator[int]:
    """Give a process that has no children."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process.pid
    process.kill()
    process.wait()


class NoWorkersTests:
    @pytest.mark.parametrize("command", ["hotspots", "flamegraph"])
    def test_are_told_where_the_process_has_none(self, command: str, childless: int) -> None:
        with pytest.raises(CommandError) as refusal:
            call_command(command, pid=childless)

        assert str(refusal.value) == (
            f"process {childless} has no workers: is it the gunicorn that was started?"
        )

    def test_are_told_where_no_server_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
        drawing = tmp_path / "flamegraph.svg"

        with pytest.raises(CommandError) as refusal:
            call_command("flamegraph", output=drawing)

        assert str(refusal.value) == (
            "name the server by --pid, or by PID_FILE as it was started with"
        )
        assert not drawing.exists()

    def test_are_told_where_pid_file_is_of_a_server_that_ended(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "pid").write_text("4194305\n")
        monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))

        with pytest.raises(CommandError) as refusal:
            call_command("flamegraph")

        assert str(refusal.value) == "there is no process 4194305 on this machine"


class NoExtensionTests(TestCase):
    def test_is_told_with_what_to_do(self):
        with self.assertRaises(CommandError) as refusal:
            call_command("hotspots", seconds=0.1)

        self.assertIn("pg_stat_statements is not there", str(refusal.exception))
        self.assertIn("CREATE EXTENSION pg_stat_statements", str(refusal.exception))

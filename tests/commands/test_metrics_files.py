"""The files in which the processes of one server count."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as some
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.values import MultiProcessValue

from config import metrics_directory
from config.counting import ThisProcess, value_class
from config.metrics_directory import HELD, READ, VARIABLE, reading, remove_abandoned, try_lock
from config.metrics_files import STEP, add_up, add_up_the_dead, exported, taken_down
from tests.commands.processes import PROJECT

COUNTS = """
import os, sys
from prometheus_client import Counter, Gauge, Histogram
Counter("orders", "Orders.", ["how"]).labels("placed").inc(int(sys.argv[1]))
Histogram("took_seconds", "Took.", buckets=(1, 2)).observe(1.5)
Gauge("busy", "Busy.", multiprocess_mode="livesum").set(7)
print(os.getpid())
"""


# As a master that counts, and workers that it forks.
FORKED = """
import os
from config.counting import count_cheaply
count_cheaply()
from prometheus_client import Counter, Gauge, Histogram
placed = Counter("orders", "Orders.", ["how"])
busy = Gauge("busy", "Busy.", multiprocess_mode="livesum")
took = Histogram("took_seconds", "Took.", buckets=(1, 2))
placed.labels("placed").inc()
os.write(1, b"%d " % os.getpid())
for n in 1, 2:
    if not os.fork():
        placed.labels("placed").inc(10)
        placed.labels(f"by {n}").inc(0.5)
        busy.set(7)
        busy.dec()
        took.observe(1.5)
        os.write(1, b"%d " % os.getpid())
        break
else:
    os.wait(), os.wait()
    placed.labels("placed").inc()
"""


# Tells how often it saw less than before.
READER = """
import mmap, struct, sys
with open(sys.argv[1], "rb") as file:
    read = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
at = struct.unpack_from("i", read)[0] - 16
before = fell = 0
for _ in range(1_000_000):
    now = struct.unpack_from("d", read, at)[0]
    fell += now < before
    before = now
print(fell, end="")
"""


def run(code: str, *arguments: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def told(directory: Path) -> list[str]:
    lines = exported(directory).decode().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


class CountedCheaplyTests:
    def test_each_process_counts_into_files_of_its_own(self, tmp_path):
        pids = run(FORKED, **{VARIABLE: str(tmp_path)}).split()

        assert len(set(pids)) == 3
        assert {file.name for file in tmp_path.glob("counter_*.db")} == {
            f"counter_{pid}.db" for pid in pids
        }
        assert sums(tmp_path) == [
            "busy 12.0",
            'orders_total{how="by 1"} 0.5',
            'orders_total{how="by 2"} 0.5',
            'orders_total{how="placed"} 22.0',
            'took_seconds_bucket{le="+Inf"} 2.0',
            'took_seconds_bucket{le="1.0"} 0.0',
            'took_seconds_bucket{le="2.0"} 2.0',
            "took_seconds_count 2.0",
            "took_seconds_sum 3.0",
        ]

    def test_what_has_labels_counts_nothing_without_them(self, tmp_path):
        code = (
            FORKED.partition("os.write")[0]
            + """
lacking = Gauge("lacking", "Lacking.", ["how"]), Histogram("lacking_s", "Lacking.", ["how"])
for count in placed.inc, lacking[0].inc, lacking[0].set, lacking[1].observe:
    try:
        count(1)
    except AttributeError:
        print("refused")
"""
        )

        assert run(code, **{VARIABLE: str(tmp_path)}).split() == ["refused"] * 4
        assert not [line for line in told(tmp_path) if line.startswith("lacking")]

    def test_who_reads_meanwhile_never_sees_a_count_fall(self, tmp_path):
        value = value_class(MultiProcessValue, ThisProcess())
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, str(tmp_path))
            counted = value("counter", "n", "n_total", (), (), "N.")
            counted.inc(1)
            read = subprocess.Popen(
                [sys.executable, "-c", READER, counted._file._fname], stdout=subprocess.PIPE
            )
            while read.poll() is None:
                for _ in range(1000):
                    counted.inc(1)
            counted.close_all_files()

        assert read.communicate()[0] == b"0"

    def test_what_does_not_fit_makes_the_file_larger(self, tmp_path):
        code = (
            FORKED.partition("os.write")[0]
            + """
for n in range(20_000):
    placed.labels(f"way {n}").inc(n)
placed.labels("placed").inc()
"""
        )
        run(code, **{VARIABLE: str(tmp_path)})

        told_now = told(tmp_path)
        assert 'orders_total{how="placed"} 2.0' in told_now
        assert 'orders_total{how="way 19999"} 19999.0' in told_now
        (file,) = tmp_path.glob("counter_*.db")
        assert file.stat().st_size > 1024 * 1024


class AddUpTheDeadTests:
    def test_keeps_the_counts_and_not_the_files_of_any_number_of_workers(self, tmp_path):
        for placed in range(1, 6):
            run(COUNTS, str(placed), **{VARIABLE: str(tmp_path)})
            add_up_the_dead(tmp_path)

        assert sorted(file.name for file in tmp_path.glob("*.db")) == [
            "counter_gone.db",
            "histogram_gone.db",
        ]
        assert told(tmp_path) == [
            'orders_total{how="placed"} 15.0',
            "took_seconds_sum 7.5",
            'took_seconds_bucket{le="1.0"} 0.0',
            'took_seconds_bucket{le="2.0"} 5.0',
            'took_seconds_bucket{le="+Inf"} 5.0',
            "took_seconds_count 5.0",
        ]

    def test_leaves_the_files_of_those_who_live_alone(self, tmp_path):
        alive = tmp_path / f"counter_{os.getpid()}.db"
        alive.write_bytes(b"")

        add_up_the_dead(tmp_path)

        assert alive.exists()

    def test_takes_the_word_of_who_has_buried_a_worker(self, tmp_path):
        # Its number may be another process's by now.
        gauge = tmp_path / f"gauge_livesum_{os.getpid()}.db"
        gauge.write_bytes(b"")

        add_up_the_dead(tmp_path, reaped=os.getpid())

        assert not gauge.exists()

    def test_touches_nothing_while_somebody_reads(self, tmp_path, monkeypatch):
        monkeypatch.setattr("config.metrics_files.WAIT_S_MAX", 0.05)
        run(COUNTS, "1", **{VARIABLE: str(tmp_path)})
        before = sorted(tmp_path.glob("*.db"))

        with reading(tmp_path):
            add_up_the_dead(tmp_path)

        assert sorted(tmp_path.glob("*.db")) == before
        lock = try_lock(tmp_path / READ)
        assert lock is not None
        os.close(lock)


SPENT = mmap_key("spent_seconds", "spent_seconds_total", [], [], "Spent.")
TOOK = mmap_key("took_seconds", "took_seconds_sum", [], [], "Took.")
BUSY = mmap_key("busy", "busy", [], [], "Busy.")
# No process has such a number: Linux ends at 2**22.
NOBODY = 2**22 + 1


def write(file: Path, **values: float) -> None:
    counted = MmapedDict(str(file))
    for key, value in values.items():
        counted.write_value(key, value, 0.0)
    counted.close()


def sums(directory: Path) -> list[str]:
    return sorted(told(directory))


class ExactTests:
    @given(
        # The seconds of a worker that never ends, for centuries.
        counts=some.lists(some.floats(0, 2.0**30), min_size=1, max_size=6),
        dice=some.randoms(use_true_random=False),
    )
    def test_no_sum_changes_when_workers_go_in_any_order(self, counts, dice):
        # Where a server has them: a disk may stand still for longer than an example may take.
        with TemporaryDirectory(dir=metrics_directory.base_directory("")) as folder:
            directory = Path(folder)
            for n, count in enumerate(counts):
                write(directory / f"counter_{NOBODY + n}.db", **{SPENT: count})
                write(directory / f"histogram_{NOBODY + n}.db", **{TOOK: count})
            before = sums(directory)

            going = list(range(len(counts)))
            dice.shuffle(going)
            for n in going:
                for file in directory.glob(f"*_{NOBODY + n}.db"):
                    add_up(file)

                assert sums(directory) == before

    @given(some.floats(0, 2.0**60), some.floats(0, 2.0**60))
    def test_a_count_that_grows_never_falls_when_taken_down(self, first, second):
        less, more = sorted((first, second))

        assert taken_down(less) <= taken_down(more) <= more
        assert more - taken_down(more) < STEP

    @given(some.integers(0, 2**53))
    def test_whole_numbers_stay_as_they_are(self, count):
        assert taken_down(float(count)) == count

    def test_gauges_stay_as_they_are(self, tmp_path):
        write(tmp_path / "gauge_livesum_1.db", **{BUSY: 0.1})

        assert told(tmp_path) == ["busy 0.1"]


class DirectoryTests:
    @pytest.fixture(autouse=True)
    def _own_state(self, monkeypatch):
        monkeypatch.setattr(metrics_directory, "_held", {})
        monkeypatch.delenv("GUNICORN_PID", raising=False)
        monkeypatch.setenv(VARIABLE, "/set/by/somebody/else")
        yield
        metrics_directory.leave()

    def test_is_new_empty_and_held(self, tmp_path):
        directory = metrics_directory.claim(tmp_path)

        assert directory.parent == tmp_path
        assert [file.name for file in directory.iterdir()] == [HELD]
        assert os.environ[VARIABLE] == str(directory)
        assert try_lock(directory / HELD) is None

    def test_is_the_same_after_a_reload(self, tmp_path):
        assert metrics_directory.claim(tmp_path) == metrics_directory.claim(tmp_path)

    def test_is_that_of_the_master_whom_we_succeed(self, tmp_path, monkeypatch):
        first = metrics_directory.claim(tmp_path)
        handed: dict[str, str] = {}
        metrics_directory.hand_over(handed)
        monkeypatch.setattr(metrics_directory, "_held", {})
        monkeypatch.setenv("GUNICORN_PID", "1")
        monkeypatch.setenv(VARIABLE, handed[VARIABLE])

        assert metrics_directory.claim(tmp_path) == first

    def test_is_removed_by_whoever_leaves_last(self, tmp_path, monkeypatch):
        directory = metrics_directory.claim(tmp_path)
        successor = os.open(directory / HELD, os.O_RDWR)
        metrics_directory.fcntl.flock(successor, metrics_directory.fcntl.LOCK_SH)

        metrics_directory.leave()
        assert directory.is_dir()

        os.close(successor)
        remove_abandoned(tmp_path)
        assert not directory.exists()

    def test_of_a_server_that_lives_is_left_alone(self, tmp_path):
        directory = metrics_directory.claim(tmp_path)

        remove_abandoned(tmp_path)

        assert directory.is_dir()

    def test_that_somebody_else_named_is_not_used(self):
        metrics_directory.disclaim()

        assert VARIABLE not in os.environ

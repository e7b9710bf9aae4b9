"""Requests that come when they come, whether or not the last ones were answered: an open loop."""

import atexit
import math
import secrets
import shutil
import statistics
import struct
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from tests.edge import need

LOST = 0
# In a request these become a text that no request had before.
FRESH = "#" * 16
# The struct told of openloop.c.
RECORD = struct.Struct("=IIdd")


@dataclass(frozen=True, slots=True)
class Request:
    """One of the requests that are sent in turn, and what the reader calls it."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Told:
    """
    What became of one request.

    status: LOST without an answer. at_s: when it was due, in seconds of the run. seconds: from
    then to its answer, also where the caller was late to send it.
    """

    name: str
    status: int
    at_s: float
    seconds: float


def offer(
    place: int | Path, requests: Sequence[Request], *, per_second: float, seconds: float, lines: int
) -> list[Told]:
    """
    Send so many requests a second over so many connections; wait for the last answers.

    place: a port, or the path of a socket. Each is a request of its own that waits for no other;
    one for which no connection is free is LOST. per_second: evenly, to a millisecond or two; 0
    keeps all connections busy instead: what the service can do at most.
    """
    with TemporaryDirectory() as folder:
        asked, answered = Path(folder, "requests"), Path(folder, "answers")
        asked.write_bytes(b"".join(struct.pack("=I", len(r.content)) + r.content for r in requests))
        subprocess.run(
            [
                _program(), str(place), str(per_second), str(seconds), str(lines),
                str(secrets.randbits(32)), asked, answered,
            ],
            check=True,
            timeout=seconds + 60,
        )  # fmt: skip
        records = RECORD.iter_unpack(answered.read_bytes())
        return [Told(requests[n].name, status, at, took) for n, status, at, took in records]


@cache
def _program() -> Path:
    need("cc")
    folder = mkdtemp()
    atexit.register(shutil.rmtree, folder)
    program = Path(folder, "openloop")
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    return program


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run was, by status, and how long answers of a status took."""

    told: Sequence[Told]
    seconds: float

    def per_second(self, status: int = 201, name: str | None = None) -> float:
        """Return how many a second were told this status."""
        return len(self._seconds_of(status, name)) / self.seconds

    def percentile_ms(self, percent: int, status: int, name: str | None = None) -> float:
        """Return how long these took; infinity when there were none, or one."""
        took = self._seconds_of(status, name)
        if len(took) < 2:
            return math.inf
        return statistics.quantiles(took, n=100, method="inclusive")[percent - 1] * 1000

    def share(self, status: int, name: str) -> float:
        """Return which part of the requests of a name was told this status."""
        of_name = [told for told in self.told if told.name == name]
        return len(self._seconds_of(status, name)) / len(of_name)

    def _seconds_of(self, status: int, name: str | None) -> list[float]:
        return [
            told.seconds
            for told in self.told
            if told.status == status and name in (None, told.name)
        ]

    def __str__(self) -> str:
        counts = Counter((told.name, told.status) for told in self.told)
        return "  ".join(
            f"{name} {status or 'lost'}: {count / self.seconds:.0f}/s"
            f" p50 {self.percentile_ms(50, status, name):.0f}"
            f" p99 {self.percentile_ms(99, status, name):.0f} ms"
            for (name, status), count in sorted(counts.items())
        )

"""Load from wrk: as fast as answers come, or at a fixed rate whatever they take."""

import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent / "load.lua"
CONNECTIONS = 100
THREADS = 2


@dataclass(frozen=True, slots=True)
class Target:
    """What is called: action is one of load.lua's; paths: a file of what to get, one a line."""

    port: int
    action: str
    path: str
    api_key: str = ""
    paths: Path | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """
    What wrk measured; times of answers are as its callers saw them.

    refused: answers from 300 up; refusal: one of them. lost: requests without an answer.
    """

    requests: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    refused: int
    lost: int
    refusal: str = ""

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds


def drive(
    target: Target, *, skus: int, seconds: int, rate: int = 0, connections: int = CONNECTIONS
) -> Run:
    """
    Call the target for so long, over so many kept connections.

    rate: requests a second as a Poisson process; 0 is a closed loop, each connection sending
    again as soon as it has its answer.
    """
    threads = min(THREADS, connections)
    command = [
        "wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout=15s",
        "-s", str(SCRIPT), f"http://127.0.0.1:{target.port}", "--",
        target.action, target.path, target.api_key, str(skus), secrets.token_hex(4), str(rate),
        str(threads), *([str(target.paths)] if target.paths else []),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    refusals = [line for line in done.stdout.splitlines() if line.startswith("REFUSAL ")]
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or len(results) != 1:
        raise SystemExit(f"wrk said:\n{done.stdout}{done.stderr}")
    requests, duration_us, p50_us, p95_us, p99_us, refused, lost = map(int, results[0].split()[1:])
    return Run(
        requests,
        duration_us / 1e6,
        p50_us / 1e3,
        p95_us / 1e3,
        p99_us / 1e3,
        refused,
        lost,
        "".join(refusals[:1]),
    )

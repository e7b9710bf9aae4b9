"""
Load from wrk: as fast as answers come, or at a fixed rate whatever they take.

wrk times a request from when it is sent, which at a fixed rate hides the wait for a free
connection. So there load.lua times each from when it was due: who cannot follow falls behind.
"""

import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent / "load.lua"
CONNECTIONS = 100
THREADS = 2


@dataclass(frozen=True, slots=True)
class Target:
    """
    What is called: action is one of load.lua's; paths: a file of what to get, one a line.

    lines: of each order, where the action is one of Sluice's.
    """

    port: int
    action: str
    path: str
    api_key: str = ""
    paths: Path | None = None
    lines: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """
    What wrk measured; times of answers are as its callers saw them.

    refused: answers from 300 up; refusal: one of them. lost: requests without an answer.
    late: at a fixed rate, those that were sent more than 1.5 ms after they were due.
    """

    requests: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    refused: int
    lost: int
    late: int = 0
    refusal: str = ""

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds


def drive(
    target: Target,
    *,
    skus: int,
    seconds: int,
    rate: int = 0,
    connections: int = CONNECTIONS,
    is_patient: bool = False,
) -> Run:
    """
    Call the target for so long, over so many kept connections.

    rate: requests a second as a Poisson process; 0 is a closed loop, each connection sending
    again as soon as it has its answer. is_patient: in a closed loop, who is refused waits a second,
    as Retry-After asks.
    """
    threads = min(THREADS, connections)
    told = {
        "action": target.action,
        "prefix": target.path,
        "key": target.api_key,
        "skus": skus,
        "lines": target.lines,
        "seed": secrets.token_hex(4),
        "rate": rate,
        "threads": threads,
        "patient": "yes" if is_patient else "no",
    }
    if target.paths:
        told["paths"] = target.paths
    command = [
        "wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout=15s",
        "-s", str(SCRIPT), f"http://127.0.0.1:{target.port}", "--",
        *(f"{name}={value}" for name, value in told.items()),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    refusals = [line for line in done.stdout.splitlines() if line.startswith("REFUSAL ")]
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or len(results) != 1:
        raise SystemExit(f"wrk said:\n{done.stdout}{done.stderr}")
    requests, duration_us, p50_us, p95_us, p99_us, *others = map(int, results[0].split()[1:])
    refused, lost, late = others
    return Run(
        requests,
        duration_us / 1e6,
        p50_us / 1e3,
        p95_us / 1e3,
        p99_us / 1e3,
        refused,
        lost,
        late,
        "".join(refusals[:1]),
    )

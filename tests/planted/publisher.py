"""Publishes rule sets told as lines of JSON, and tells when each was with every worker."""

import json
import sys
import time
from typing import Any

import django

django.setup()

# ruff: noqa: E402, T201 - models need the setup; lines are how it answers
from rollout import announcing, usecases
from rollout.document import EMPTY_DOCUMENT

ACTOR = usecases.Actor("prover", kind="cli")


def publish(changes: dict[str, Any], *, workers: int, wait_s: float) -> dict[str, Any]:
    """Publish, and wait until so many workers acknowledged; 0 waits for nobody."""
    before = usecases.get_current().generation
    published = usecases.publish(
        {**EMPTY_DOCUMENT, **changes}, expected_generation=before, actor=ACTOR, comment="prove"
    )
    committed_at = time.time()
    told = {"generation": published.generation, "committed_at": committed_at, "lags_ms": []}
    deadline = time.monotonic() + wait_s
    while workers and time.monotonic() < deadline:
        found = announcing.convergence(published.generation)
        if found is not None and len(found.lag_ms) >= workers:
            told |= {"lags_ms": sorted(found.lag_ms.values()), "converged_at": time.time()}
            break
        time.sleep(0.02)
    return told


def main() -> None:
    """Publish what each line says, until there are no more."""
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(publish(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

"""
What a decision costs, and the whole middleware around it, in microseconds of one process.

DJANGO_SETTINGS_MODULE=config.settings SLUICE_ENV=trial python -m bench.rollout_decision
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import django
from django.http import HttpResponse
from django.test import RequestFactory

django.setup()

from rollout.codepath import CodePath  # noqa: E402 - its apps must be there
from rollout.context import CallContext  # noqa: E402
from rollout.document import read_document  # noqa: E402
from rollout.middleware import RolloutMiddleware  # noqa: E402
from rollout.rules import PathFacts, Release  # noqa: E402
from rollout.snapshot import Snapshot, compile_rule_set  # noqa: E402

CALLS = 20_000
PLACE = PathFacts("orders.place", ("v1", "v2"), Release("v1", "v2"), effects="write")
MIXED = [
    {"match": [{"kind": "header", "name": "x-a", "values": ["1"]}], "trust": "staff"},
    {"match": [{"kind": "account", "values": ["1"]}]},
    {"match": [{"kind": "segment", "values": ["beta"]}]},
    {"match": [{"kind": "user_agent", "family": "firefox", "versions": ">=100"}]},
    {"match": [{"kind": "method", "values": ["POST"]}], "share_bp": 10},
]


def snapshot_of(rules: list[dict[str, Any]]) -> Snapshot:
    """Return the snapshot of rules that serve the canary of orders.place."""
    told = [
        {"id": f"r{n}", "path": "orders.place", "serve": "canary", **rule}
        for n, rule in enumerate(rules)
    ]
    document = {"schema_version": 1, "rules": told, "segments": {"beta": {"ids": ["9"]}}}
    return compile_rule_set(read_document(document), {PLACE.key: PLACE}, generation=1)


def typical_us(call: Callable[[], object]) -> float:
    """Return the median of many calls, in microseconds."""
    taken = []
    for _ in range(CALLS):
        started = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - started)
    return median(taken) / 1000


def decision_us(rules: list[dict[str, Any]]) -> float:
    """Return what one decision costs, its context included."""
    snapshot = snapshot_of(rules)
    who = {"identities": {"account": 7}, "headers": {"User-Agent": "acme/1"}, "method": "POST"}
    return typical_us(lambda: snapshot.decide("orders.place", CallContext(snapshot, **who)))


def middleware_us() -> float:
    """Return what a request costs that asks one path: decision, breaker and headers."""
    path = CodePath("bench.path", effects="read")
    path.version("v1")(lambda: 1)
    request = RequestFactory().get("/")
    response = HttpResponse("x")
    middleware = RolloutMiddleware(lambda request: path() and response)
    return typical_us(lambda: middleware(request))


if __name__ == "__main__":
    print(f"decision, 20 mixed rules  {decision_us(MIXED * 4):6.1f} us")
    print(f"decision, a share alone   {decision_us([{'share_bp': 10}]):6.1f} us")
    print(f"middleware and a path     {middleware_us():6.1f} us")

"""Greenlets at the half-open instant; in a process of their own, because gevent patches it."""

import json
import subprocess
import sys

PROGRAM = """
import gevent.monkey; gevent.monkey.patch_all()
import json
import gevent
from gevent.event import Event
from rollout.breaker import Breaker
from rollout.policies import BreakerPolicy, BreakerRule

PROBES = 3
clock = [10**12]
breaker = Breaker(
    "orders.place", "v2",
    BreakerPolicy(
        rules=(BreakerRule("ErrorCount", 1),), min_request_amount=1,
        probe_num=PROBES + 2, max_concurrent_probes=PROBES,
    ),
    clock_ns=lambda: clock[0],
)
breaker.admit().complete("error")
clock[0] += 3600 * 10**9
gate, ran, most, running = Event(), 0, 0, 0

def call():
    global ran, most, running
    gate.wait()
    token = breaker.admit()
    if token is None:
        return
    ran += 1
    running += 1
    most = max(most, running)
    gevent.sleep(0.05)
    running -= 1

calls = [gevent.spawn(call) for _ in range(1000)]
gevent.sleep(0)
gate.set()
gevent.joinall(calls, raise_error=True)
print(json.dumps({"ran": ran, "most": most, "state": breaker.state}))
"""


class HalfOpenTests:
    def test_lets_exactly_the_probes_of_1000_greenlets_run(self):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

        assert json.loads(done.stdout) == {"ran": 3, "most": 3, "state": 1}

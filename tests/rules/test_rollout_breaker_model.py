"""The breaker against a model that was written apart from it, over random histories."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rollout.breaker import Breaker
from rollout.policies import BreakerPolicy, BreakerRule

MS = 1_000_000
BUCKET_MS, BUCKETS, MIN_REQUESTS, ALLOWED_MS, RETRY_MS, LEASE_MS = 100, 5, 4, 30, 150, 400
PROBES, CONCURRENT = 3, 2
POLICY = BreakerPolicy(
    rules=(
        BreakerRule("ErrorRatio", 0.5),
        BreakerRule("SlowRequestRatio", 0.75),
        BreakerRule("consecutive_errors", 3),
    ),
    min_request_amount=MIN_REQUESTS,
    stat_interval_ms=BUCKET_MS * BUCKETS,
    stat_sliding_window_bucket_count=BUCKETS,
    max_allowed_rt_ms=ALLOWED_MS,
    retry_timeout_ms=RETRY_MS,
    retry_backoff_multiplier=2.0,
    retry_jitter=0.0,
    probe_timeout_ms=LEASE_MS,
    probe_num=PROBES,
    max_concurrent_probes=CONCURRENT,
)


class Model:
    """
    The same promises, said plainly: keep every event and count them again each time.

    Times in whole milliseconds. A call is a dict; what happened is a list of events of this
    period (since the last transition to closed).
    """

    def __init__(self):
        self.now = 0
        self.state = "closed"
        self.period = 0
        self.events = []
        self.row = 0
        self.calls = []
        self.good = 0
        self.bad_periods = 0
        self.retry_at = None

    def enter(self, state):
        self.state = state
        self.period += 1
        self.row = self.good = 0
        if state == "open":
            self.retry_at = self.now + min(RETRY_MS * 2**self.bad_periods, 60_000)
        if state == "closed":
            self.events = []
            self.bad_periods = 0

    def mine(self, *, probe):
        return [
            call
            for call in self.calls
            if call["period"] == self.period and call["probe"] is probe and not call["ended"]
        ]

    def judge(self):
        first_bucket = self.now // BUCKET_MS - BUCKETS + 1
        seen = [event for at, event in self.events if at // BUCKET_MS >= first_bucket]
        total, errors, slow = (seen.count(name) for name in ("call", "error", "slow"))
        if self.row >= 3 or (
            total >= MIN_REQUESTS
            and ((errors and errors / total >= 0.5) or (slow and slow / total >= 0.75))
        ):
            self.enter("open")

    def look(self):
        if any(call["at"] + LEASE_MS <= self.now for call in self.mine(probe=True)):
            self.bad_periods += 1
            self.enter("open")
        hung = [
            call
            for call in self.mine(probe=False)
            if call["at"] + ALLOWED_MS < self.now and not call["hung"]
        ]
        for call in hung:
            call["hung"] = True
            self.events += [(self.now, "call"), (self.now, "slow")]
        if hung and self.state == "closed":
            self.judge()

    def admit(self):
        self.look()
        if self.state == "open":
            if self.now < self.retry_at:
                return None
            self.enter("half_open")
        probe = self.state == "half_open"
        if probe:
            out = len(self.mine(probe=True))
            if out >= CONCURRENT or out + self.good >= PROBES:
                return None
        call = {"at": self.now, "period": self.period, "probe": probe, "ended": False, "hung": 0}
        self.calls.append(call)
        return call

    def complete(self, call, outcome):
        self.look()
        call["ended"] = True
        if call["period"] != self.period:
            return
        slow = self.now - call["at"] > ALLOWED_MS
        if call["probe"]:
            if outcome == "ignored":
                return
            if outcome == "error" or slow:
                self.bad_periods += 1
                self.enter("open")
            else:
                self.good += 1
                if self.good == PROBES:
                    self.enter("closed")
            return
        if outcome == "ignored":
            return
        if not call["hung"]:
            self.events.append((self.now, "call"))
            if slow:
                self.events.append((self.now, "slow"))
        if outcome == "error":
            self.events.append((self.now, "error"))
            self.row += 1
        else:
            self.row = 0
        self.judge()


class BreakerMachine(RuleBasedStateMachine):
    """Drive both, compare after every step."""

    def __init__(self):
        super().__init__()
        self.model = Model()
        self.breaker = Breaker(
            "a.b", "v2", POLICY, clock_ns=lambda: self.model.now * MS, dice=lambda: 0.5
        )
        self.open_calls = []

    @rule(times=st.integers(1, 4))
    def admit(self, times):
        for _ in range(times):
            call, token = self.model.admit(), self.breaker.admit()
            assert (call is None) == (token is None)
            if token is not None:
                assert token.is_probe == call["probe"]
                self.open_calls.append((call, token))

    @precondition(lambda self: self.open_calls)
    @rule(data=st.data(), outcome=st.sampled_from(["ok", "error", "error", "reject", "ignored"]))
    def complete(self, data, outcome):
        at = data.draw(st.integers(0, len(self.open_calls) - 1))
        call, token = self.open_calls.pop(at)
        self.model.complete(call, outcome)
        token.complete(outcome)

    @precondition(lambda self: self.open_calls)
    @rule(outcome=st.sampled_from(["ok", "error"]))
    def complete_all(self, outcome):
        for call, token in self.open_calls:
            self.model.complete(call, outcome)
            token.complete(outcome)
        self.open_calls = []

    @rule(ms=st.sampled_from([1, 10, 29, 30, 31, 99, 100, 101, 399, 400, 499, 500, 600, 900]))
    def pass_time(self, ms):
        self.model.now += ms

    @rule()
    def tick(self):
        self.model.look()
        self.breaker.tick()

    @rule(ms=st.sampled_from([-1, 0]))
    @precondition(lambda self: self.model.state == "open")
    def go_to_the_retry_time(self, ms):
        self.model.now = max(self.model.now, self.model.retry_at + ms)

    @invariant()
    def agree(self):
        state = ("closed", "half_open", "open")[self.breaker.state]
        assert (state, self.breaker.epoch) == (self.model.state, self.model.period)


class BreakerModelTests(BreakerMachine.TestCase):
    settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


@pytest.mark.prove
@pytest.mark.paired
class LongBreakerModelTests(BreakerMachine.TestCase):
    settings = settings(max_examples=3000, stateful_step_count=60, deadline=None)

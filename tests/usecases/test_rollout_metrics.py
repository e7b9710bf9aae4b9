"""What Prometheus is told of code paths, their breakers and their rules."""

import re
import subprocess
import sys

import pytest
from prometheus_client import REGISTRY

from rollout.breaker import CLOSED, OPEN
from rollout.codepath import CodePath
from rollout.context import CallContext
from rollout.document import read_document
from rollout.errors import PathUnavailable
from rollout.runtime import runtime
from rollout.sharing import Sharer
from tests.commands.processes import PROJECT

KEY = "tests.measured"
FRAGILE = {"rules": [{"Strategy": "consecutive_errors", "Threshold": 1}], "RetryTimeoutMs": 1}


class Broken(Exception):
    pass


@pytest.fixture(autouse=True)
def _own_path():
    yield
    runtime.forget(KEY)
    runtime.reset()


def given_path(**breakers):
    """Declare a path whose canary fails, and put its rules in force as generation 7."""
    path = CodePath(KEY, effects="write")
    path.version("v1")(lambda: "v1")

    @path.version("v2")
    def fail():
        raise Broken

    document = {"schema_version": 1, "releases": {KEY: {"stable": "v1", "canary": "v2"}}}
    rules = [{"id": "all", "path": KEY, "serve": "canary"}]
    runtime.activate(
        read_document({**document, "rules": rules, "breakers": {KEY: breakers}}), generation=7
    )
    return path


def told(name, **labels):
    """Return a sample; 0 for one that is not there yet."""
    return REGISTRY.get_sample_value(name, labels) or 0


class Grown:
    """How much samples grew since the block began."""

    def __init__(self, name, **labels):
        self.name, self.labels = name, labels
        self.before = told(name, **labels)

    def by(self):
        return told(self.name, **self.labels) - self.before


def grown(name, **labels):
    return Grown(f"rollout_{name}", path=KEY, **labels)


class MetricsPageTests:
    def test_names_every_metric(self):
        page = (PROJECT / "docs" / "rollout.md").read_text(encoding="utf-8")
        table = set(re.findall(r"^\| `(rollout_\w+)` \|", page, re.MULTILINE))

        kept = {
            metric.name + ("_total" if metric.type == "counter" else "")
            for metric in REGISTRY.collect()
            if metric.name.startswith("rollout_")
        }
        assert table == kept


class RolloutMetricsTests:
    def test_count_a_call_by_how_it_ended_and_by_why_it_was_served_so(self):
        path = given_path(canary={"mode": "metrics_only"})
        failed = grown("requests_total", version="v2", outcome="error")
        timed = grown("request_duration_seconds_count", version="v2")
        chosen = grown("decisions_total", version="v2", reason="SPLIT")

        with pytest.raises(Broken):
            path()

        assert (failed.by(), timed.by(), chosen.by()) == (1, 1, 1)

    def test_count_what_a_breaker_did(self):
        path = given_path(canary=FRAGILE)
        opened = grown(
            "breaker_transitions_total", version="v2", from_state="closed", to_state="open"
        )
        bad_probes = grown("breaker_probes_total", version="v2", result="bad")
        probed = grown("decisions_total", version="v2", reason="BREAKER_PROBE")

        with pytest.raises(Broken):
            path()
        while runtime.breakers[KEY, "v2"].retry_after_s() > 0:
            pass
        with pytest.raises(Broken):
            path()

        assert (opened.by(), bad_probes.by(), probed.by()) == (1, 1, 1)

    def test_count_calls_that_another_version_served_and_those_that_none_did(self):
        path = given_path(canary={"mode": "forced_open"})
        replaced = grown("breaker_rejected_total", version="v2", action="fallback")
        served = grown("decisions_total", version="v1", reason="BREAKER_FALLBACK")

        assert path() == "v1"
        assert (replaced.by(), served.by()) == (1, 1)

        runtime.forget(KEY)
        path = given_path(canary={"mode": "forced_open"}, stable={"mode": "forced_open"})
        refused = grown("breaker_rejected_total", version="v1", action="503")
        without = grown("decisions_total", version="v2", reason="BREAKER_503")
        with pytest.raises(PathUnavailable):
            path()

        assert (refused.by(), without.by()) == (1, 1)

    def test_count_an_override_that_was_not_trusted(self):
        path = given_path(canary={"mode": "metrics_only"})
        denied = grown("override_denied_total", source="header")
        stranger = CallContext(runtime.snapshot, headers={"x-deploy-version": "v1"})

        with pytest.raises(Broken):
            path.given(stranger)()

        assert denied.by() == 1

    def test_show_what_is_in_force_at_every_tick(self):
        given_path(canary={"mode": "forced_open"})

        Sharer(runtime, worker="w1", connect=lambda: None).tick()

        assert told("rollout_generation") == 7
        assert told("rollout_breaker_state", path=KEY, version="v2") == OPEN
        assert told("rollout_breaker_state", path=KEY, version="v1") == CLOSED
        assert told("rollout_breaker_local_open", path=KEY, version="v2") == 0
        assert told("rollout_shared_state_degraded") == 0

    def test_show_a_breaker_that_opened_alone(self):
        path = given_path(canary={**FRAGILE, "RetryTimeoutMs": 60_000})
        with pytest.raises(Broken):
            path()

        runtime.measure(is_degraded=True)

        assert told("rollout_breaker_local_open", path=KEY, version="v2") == 1
        assert told("rollout_shared_state_degraded") == 1

    def test_take_a_word_that_nobody_knows_for_no_error(self):
        path = CodePath(KEY, effects="read", classify=lambda failure, answer: "odd")
        path.version("v1")(lambda: "v1")
        counted = grown("requests_total", version="v1", outcome="ok")

        assert path() == "v1"
        assert counted.by() == 1

    def test_are_left_out_where_prometheus_client_is_not_installed(self):
        told_by = (
            "import sys; sys.modules['prometheus_client'] = None\n"
            "from rollout import metrics\n"
            "metrics.calls_of('a.b', 'v1').count_end('ok', 1)\n"
            "metrics.GENERATION.set(1)\n"
            "print(type(metrics.REQUESTS).__name__)"
        )

        done = subprocess.run(
            [sys.executable, "-c", told_by], cwd=PROJECT, capture_output=True, text=True, check=True
        )

        assert done.stdout == "_Nothing\n"

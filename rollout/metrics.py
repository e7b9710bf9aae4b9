"""
What Prometheus may know of rollout: counts of calls, decisions and breakers, and what is in force.

Labels come from closed lists: the code paths and versions that code declares, and the words in this
package. Never a customer, a rule or a header. Without prometheus_client nothing is counted and all
else works.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from rollout.breaker import ERROR, IGNORED, OK, REJECT, STATE_NAMES, BreakerView, Transition

try:
    from prometheus_client import Counter, Gauge, Histogram
except ImportError:

    class _Nothing:
        """Stands for every metric and every child."""

        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def labels(self, *_: str) -> "_Nothing":
            return self

        def inc(self, _: float = 1) -> None:
            pass

        set = observe = inc

    Counter = Gauge = Histogram = _Nothing  # type: ignore[assignment,misc]

NS_OF_S = 1_000_000_000
OUTCOMES = (OK, ERROR, REJECT, IGNORED)
# From one statement on the local network to the deadline of a request.
DURATIONS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LAGS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)

REQUESTS = Counter(
    "rollout_requests", "Calls of a version, by how they ended.", ("path", "version", "outcome")
)
DURATION = Histogram(
    "rollout_request_duration_seconds",
    "How long calls of a version took.",
    ("path", "version"),
    buckets=DURATIONS_S,
)
DECISIONS = Counter(
    "rollout_decisions", "Calls by why a version served them.", ("path", "version", "reason")
)
OVERRIDE_DENIED = Counter(
    "rollout_override_denied", "Overrides that were not trusted.", ("path", "source")
)
# The slowest worker's: together with the newest published one it tells who lags behind.
GENERATION = Gauge("rollout_generation", "The rules in force here.", multiprocess_mode="livemin")
WORKERS_CONVERGED = Gauge(
    "rollout_workers_converged",
    "Workers that follow the newest rules of the database.",
    multiprocess_mode="livesum",
)
EVENT_LOOP_LAG = Gauge(
    "rollout_event_loop_lag_seconds",
    "How much later than it should the slowest worker looked for rules, the last time.",
    multiprocess_mode="livemax",
)
RELOADS = Counter("rollout_reload", "Rules that were loaded, or refused.", ("source", "result"))
RELOAD_LAG = Histogram(
    "rollout_reload_lag_seconds", "From the announcement until in force here.", buckets=LAGS_S
)
BREAKER_STATE = Gauge(
    "rollout_breaker_state",
    "0 closed, 1 half open, 2 open: what callers meet.",
    ("path", "version"),
    multiprocess_mode="livemax",
)
BREAKER_LOCAL_OPEN = Gauge(
    "rollout_breaker_local_open",
    "Workers whose breaker is not closed although the fleet's is.",
    ("path", "version"),
    multiprocess_mode="livesum",
)
BREAKER_TRANSITIONS = Counter(
    "rollout_breaker_transitions",
    "Changes of state.",
    ("path", "version", "from_state", "to_state"),
)
BREAKER_REJECTED = Counter(
    "rollout_breaker_rejected",
    "Calls that a breaker did not admit: another version was asked, or none was left.",
    ("path", "version", "action"),
)
BREAKER_PROBES = Counter(
    "rollout_breaker_probes", "Probes, by what they showed.", ("path", "version", "result")
)
SHARED_STATE_DEGRADED = Gauge(
    "rollout_shared_state_degraded",
    "Workers whose breakers decide alone because Redis is lost.",
    multiprocess_mode="livesum",
)


class CallsOfVersion:
    """The counts of one version, bound once: looking a child up costs more than counting."""

    __slots__ = ("_durations", "_outcomes", "_probes")

    def __init__(self, path: str, version: str) -> None:
        self._outcomes: Mapping[str, Counter] = {
            outcome: REQUESTS.labels(path, version, outcome) for outcome in OUTCOMES
        }
        self._durations = DURATION.labels(path, version)
        self._probes: Mapping[str, Counter] = {
            result: BREAKER_PROBES.labels(path, version, result)
            for result in ("good", "bad", "lost", "ignored")
        }

    def count_end(self, outcome: str, rt_ns: int) -> None:
        """Count a call that ended, and its time unless nobody waited for it."""
        # A classifier of an app may say a word of its own; for breakers that is no error either.
        (self._outcomes.get(outcome) or self._outcomes[OK]).inc()
        if outcome != IGNORED:
            self._durations.observe(rt_ns / NS_OF_S)

    def count_probe(self, result: str) -> None:
        """Count a probe: good, bad, lost or ignored."""
        self._probes[result].inc()


@cache
def calls_of(path: str, version: str) -> CallsOfVersion:
    """Return the counts of a version that code declares."""
    return CallsOfVersion(path, version)


@cache
def decisions_by(path: str, version: str, reason: str) -> Counter:
    """Return the count of calls that a version of this path serves for a reason."""
    return DECISIONS.labels(path, version, reason)


def count_rejection(path: str, version: str, *, has_next: bool) -> None:
    """Count a call that a breaker did not admit."""
    BREAKER_REJECTED.labels(path, version, "fallback" if has_next else "503").inc()


def count_denial(path: str, source: str) -> None:
    """Count an override that was not trusted; source: header, query or rule."""
    OVERRIDE_DENIED.labels(path, source).inc()


def count_transition(told: Transition) -> None:
    """Count a change of state; a change of mode alone is none."""
    if told.from_state != told.to_state:
        BREAKER_TRANSITIONS.labels(
            told.path, told.version, STATE_NAMES[told.from_state], STATE_NAMES[told.to_state]
        ).inc()


def count_reload(source: str, *, is_loaded: bool) -> None:
    """Count rules that came from redis, the database or the file."""
    RELOADS.labels(source, "loaded" if is_loaded else "refused").inc()


def show_breaker(view: BreakerView) -> None:
    """Show how a breaker stands."""
    BREAKER_STATE.labels(view.path, view.version).set(view.state)
    is_alone = view.mode == "auto" and not view.is_governed and view.state > 0
    BREAKER_LOCAL_OPEN.labels(view.path, view.version).set(is_alone)

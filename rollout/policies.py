"""When a breaker opens and how it closes again, under Sentinel's names. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

SLOW_REQUEST_RATIO = "SlowRequestRatio"
ERROR_RATIO = "ErrorRatio"
ERROR_COUNT = "ErrorCount"
CONSECUTIVE_ERRORS = "consecutive_errors"
STRATEGIES = (SLOW_REQUEST_RATIO, ERROR_RATIO, ERROR_COUNT, CONSECUTIVE_ERRORS)
RATIOS = (SLOW_REQUEST_RATIO, ERROR_RATIO)

MODES = ("auto", "forced_open", "forced_closed", "metrics_only")
BACKOFF_MS_MAX = 60_000
# Sentinel compares ratios this closely, so that 3 of 15 reaches a threshold of 0.2.
PRECISION = 1e-8


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """One condition to open."""

    strategy: str
    threshold: float

    def is_met(self, *, total: int, errors: int, slow: int, consecutive: int) -> bool:
        """Test whether the counts reach the threshold; the amount of requests is not asked here."""
        if self.strategy == ERROR_RATIO:
            return errors >= self.threshold * total - PRECISION and errors > 0
        if self.strategy == SLOW_REQUEST_RATIO:
            return slow >= self.threshold * total - PRECISION and slow > 0
        if self.strategy == ERROR_COUNT:
            return errors >= self.threshold
        return consecutive >= self.threshold


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """The rules and times of one breaker. All its rules share one state and one window."""

    rules: tuple[BreakerRule, ...] = (
        BreakerRule(ERROR_RATIO, 0.2),
        BreakerRule(SLOW_REQUEST_RATIO, 0.5),
    )
    min_request_amount: int = 20
    stat_interval_ms: int = 10_000
    stat_sliding_window_bucket_count: int = 10
    max_allowed_rt_ms: int = 1_000
    retry_timeout_ms: int = 5_000
    probe_num: int = 3
    max_concurrent_probes: int = 1
    probe_timeout_ms: int = 0  # 0: three slow calls, at least 5 s
    retry_backoff_multiplier: float = 1.5
    retry_jitter: float = 0.2
    recovery_ramp_ms: int = 0
    mode: str = "auto"

    @property
    def counts_slow(self) -> bool:
        """Test whether a slow call matters to this policy."""
        return any(rule.strategy == SLOW_REQUEST_RATIO for rule in self.rules)

    @property
    def lease_ms(self) -> int:
        """Return how long a probe may take before it counts as failed."""
        return self.probe_timeout_ms or max(3 * self.max_allowed_rt_ms, 5_000)

    def retry_in_ms(self, *, failed_probes: int, dice: float) -> int:
        """
        Return how long to stay open.

        Longer after each failed probe, to at most a minute (or RetryTimeoutMs where that is
        more), and spread by RetryJitter so that a fleet does not probe in one instant.
        dice: 0 … 1.
        """
        longest = max(BACKOFF_MS_MAX, self.retry_timeout_ms)
        # The exponent is bounded because a float overflows long before a breaker gives up.
        grown = self.retry_timeout_ms * self.retry_backoff_multiplier ** min(failed_probes, 64)
        return max(1, int(min(grown, longest) * (1 + self.retry_jitter * (2 * dice - 1))))


METRICS_ONLY = BreakerPolicy(mode="metrics_only")
PRESETS: Mapping[str, BreakerPolicy] = {
    "default": BreakerPolicy(),
    "one_second": BreakerPolicy(
        rules=(BreakerRule(ERROR_RATIO, 0.6),),
        min_request_amount=10,
        stat_interval_ms=1_000,
        retry_timeout_ms=60_000,
    ),
    "cautious": BreakerPolicy(
        rules=(BreakerRule(CONSECUTIVE_ERRORS, 5), BreakerRule(ERROR_RATIO, 0.05)),
        min_request_amount=50,
        stat_interval_ms=30_000,
    ),
    # For what customers wait on: a hang is seen from the first calls that take half a second.
    "swift": BreakerPolicy(
        rules=(
            BreakerRule(CONSECUTIVE_ERRORS, 5),
            BreakerRule(ERROR_RATIO, 0.2),
            BreakerRule(SLOW_REQUEST_RATIO, 0.2),
        ),
        min_request_amount=5,
        max_allowed_rt_ms=500,
        retry_timeout_ms=2_000,
        retry_backoff_multiplier=1.0,
        probe_timeout_ms=1_000,
    ),
    "metrics_only": METRICS_ONLY,
}

Fault = Callable[[str, str, str], None]  # pointer, code, message

# JSON name -> attribute, least, most.
_WHOLE = {
    "MinRequestAmount": ("min_request_amount", 1, 1_000_000),
    "StatIntervalMs": ("stat_interval_ms", 100, 600_000),
    "StatSlidingWindowBucketCount": ("stat_sliding_window_bucket_count", 1, 1_000),
    "MaxAllowedRtMs": ("max_allowed_rt_ms", 1, 600_000),
    "RetryTimeoutMs": ("retry_timeout_ms", 1, 3_600_000),
    "ProbeNum": ("probe_num", 0, 1_000),
    "MaxConcurrentProbes": ("max_concurrent_probes", 1, 1_000),
    "ProbeTimeoutMs": ("probe_timeout_ms", 1, 3_600_000),
    "RecoveryRampMs": ("recovery_ramp_ms", 0, 3_600_000),
}
_REAL = {
    "RetryBackoffMultiplier": ("retry_backoff_multiplier", 1.0, 10.0),
    "RetryJitter": ("retry_jitter", 0.0, 0.9),
}
_NAMES = {attribute: name for name, (attribute, *_) in {**_WHOLE, **_REAL}.items()}


def read_policy(told: object, *, pointer: str, fault: Fault) -> BreakerPolicy:
    """
    Return the policy that a JSON object describes, on top of its preset.

    Every fault is told to fault(pointer, code, message); what is faulty keeps its default.
    """
    if not isinstance(told, dict):
        fault(pointer, "not_an_object", "a breaker policy is an object")
        return METRICS_ONLY
    policy = _preset(told.get("preset", "default"), pointer=pointer, fault=fault)
    changes: dict[str, Any] = {}
    for name, value in told.items():
        if name != "preset":
            changes |= _read_member(name, value, pointer=f"{pointer}/{name}", fault=fault)
    changed = replace(policy, **changes)
    if changed.probe_num == 0:
        changed = replace(changed, probe_num=1)
    if changed.stat_interval_ms % changed.stat_sliding_window_bucket_count:
        fault(
            f"{pointer}/StatSlidingWindowBucketCount",
            "does_not_divide",
            f"{changed.stat_sliding_window_bucket_count} buckets do not divide"
            f" {changed.stat_interval_ms} ms",
        )
    return changed


def write_policy(policy: BreakerPolicy) -> dict[str, Any]:
    """Return the JSON object of a policy, complete, under Sentinel's names."""
    told: dict[str, Any] = {
        "mode": policy.mode,
        "rules": [
            {"Strategy": rule.strategy, "Threshold": rule.threshold} for rule in policy.rules
        ],
    }
    for member in fields(policy):
        if name := _NAMES.get(member.name):
            told[name] = getattr(policy, member.name)
    told["ProbeTimeoutMs"] = policy.lease_ms
    return told


def _preset(name: object, *, pointer: str, fault: Fault) -> BreakerPolicy:
    if not isinstance(name, str) or name not in PRESETS:
        fault(f"{pointer}/preset", "unknown_preset", f"write one of {', '.join(PRESETS)}")
        return PRESETS["default"]
    return PRESETS[name]


def _read_member(name: str, value: object, *, pointer: str, fault: Fault) -> dict[str, Any]:
    if name == "mode":
        if value in MODES:
            return {"mode": value}
        fault(pointer, "unknown_mode", f"write one of {', '.join(MODES)}")
        return {}
    if name == "rules":
        return {"rules": _read_rules(value, pointer=pointer, fault=fault)}
    if name in _WHOLE:
        return _read_number(value, _WHOLE[name], kinds=(int,), pointer=pointer, fault=fault)
    if name in _REAL:
        return _read_number(value, _REAL[name], kinds=(int, float), pointer=pointer, fault=fault)
    fault(pointer, "unknown_member", f"{name} is no parameter of a breaker")
    return {}


def _read_number(
    value: object,
    limits: tuple[str, float, float],
    *,
    kinds: tuple[type, ...],
    pointer: str,
    fault: Fault,
) -> dict[str, Any]:
    attribute, least, most = limits
    if isinstance(value, bool) or not isinstance(value, kinds):
        fault(pointer, "not_a_number", f"write a number from {least} to {most}")
        return {}
    if not least <= value <= most:  # type: ignore[operator]
        fault(pointer, "out_of_range", f"{value} is not from {least} to {most}")
        return {}
    return {attribute: value}


def _read_rules(told: object, *, pointer: str, fault: Fault) -> tuple[BreakerRule, ...]:
    if not isinstance(told, list) or not told:
        fault(pointer, "no_rules", "write a list of at least one rule")
        return ()
    rules = []
    for index, entry in enumerate(told):
        rule = _read_rule(entry, pointer=f"{pointer}/{index}", fault=fault)
        if rule is not None:
            rules.append(rule)
    return tuple(rules)


def _read_rule(told: object, *, pointer: str, fault: Fault) -> BreakerRule | None:
    if not isinstance(told, dict) or set(told) != {"Strategy", "Threshold"}:
        fault(pointer, "not_a_rule", "a rule has Strategy and Threshold, and nothing else")
        return None
    strategy, threshold = told["Strategy"], told["Threshold"]
    if strategy not in STRATEGIES:
        fault(f"{pointer}/Strategy", "unknown_strategy", f"write one of {', '.join(STRATEGIES)}")
        return None
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if strategy in RATIOS:
        if not (is_number and 0 < threshold <= 1):
            fault(f"{pointer}/Threshold", "out_of_range", "a ratio is above 0 and at most 1")
            return None
    elif not (is_number and 1 <= threshold <= 1_000_000 and threshold == int(threshold)):
        fault(f"{pointer}/Threshold", "out_of_range", "a count is a whole number of at least 1")
        return None
    return BreakerRule(strategy, threshold)

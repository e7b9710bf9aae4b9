"""
A rule set compiled for speed: immutable, swapped as a whole, asked once for each decision.

Asking touches no database, no Redis and no lock, and never raises.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rollout.breaker import Breaker
from rollout.clauses import Context, Test, compile_clause, compile_segment
from rollout.document import RuleSet
from rollout.policies import METRICS_ONLY, PRESETS, BreakerPolicy
from rollout.rules import (
    BUCKETS,
    Decision,
    PathFacts,
    PathPolicy,
    Reason,
    Release,
    Rule,
    bucket_of,
    in_order,
)

OVERRIDE_META = "HTTP_X_DEPLOY_VERSION"
OVERRIDE_QUERY = "x-deploy-version"
DEFAULT_STICKINESS = ("user", "api_key", "anonymous", "idempotency_key")

log = logging.getLogger("rollout")


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """One rule, ready to be asked."""

    rule: Rule
    version: str
    reason: str
    tests: tuple[Test, ...]
    trust: str | None  # None: any
    share_bp: int | None  # None: everybody, no bucket is drawn
    salt: str
    stickiness: tuple[tuple[str, ...], ...]
    valid_from_s: float | None
    valid_until_s: float | None


@dataclass(frozen=True, slots=True)
class CompiledPath:
    """One code path, ready to be asked."""

    key: str
    release: Release
    versions: frozenset[str]
    stopped: str | None  # the reason why rules are not asked
    rules: tuple[CompiledRule, ...]
    skipped: tuple[tuple[Rule, str], ...]
    # For each version: it and what it falls to, nearest first.
    chains: Mapping[str, tuple[str, ...]]
    policies: Mapping[str, BreakerPolicy]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that decisions of one generation need."""

    generation: int
    checksum: str
    paths: Mapping[str, CompiledPath]
    is_static: bool = False
    stale: bool = False
    # Filled by the runtime before the snapshot is put in place; the breakers outlive it.
    breakers: Mapping[tuple[str, str], Breaker] = field(default_factory=dict)
    wall_clock: Callable[[], float] = time.time

    def decide(self, key: str, context: Context) -> Decision:
        """
        Return which version serves a call of a path, and why.

        Never raises: what goes wrong is logged and decided as stable, reason ERROR.
        """
        path = self.paths[key]
        try:
            return self._decide(path, context)
        except Exception:
            # The guard of the whole feature: a broken rule may cost nobody an order.
            log.exception("rollout decision failed", extra={"path": key})
            return Decision(key, path.release.stable, Reason.ERROR, self.generation)

    # One flat loop: with twenty rules, a call for each rule would cost more than the rules do.
    def _decide(self, path: CompiledPath, context: Context) -> Decision:  # noqa: C901
        if path.stopped is not None:
            return self._decision(path, path.release.stable, path.stopped)
        meta = context.meta
        if OVERRIDE_META in meta or OVERRIDE_QUERY in meta.get("QUERY_STRING", ""):
            forced = self._forced(path, context)
            if forced is not None:
                return forced
        reason = Reason.STATIC if self.is_static else Reason.DEFAULT
        bucket = None
        for rule in path.rules:
            for test in rule.tests:
                if not test(context):
                    break
            else:
                if rule.share_bp is None:
                    if self._may_apply(rule, context):
                        return self._decision(path, rule.version, rule.reason, rule.rule.id)
                    continue
                subject = subject_of(rule.stickiness, context)
                if subject is None:
                    reason = Reason.SPLIT_NO_SUBJECT
                    continue
                bucket = bucket_of(rule.salt, subject)
                if bucket < rule.share_bp and self._may_apply(rule, context):
                    return self._decision(path, rule.version, rule.reason, rule.rule.id, bucket)
        return self._decision(path, path.release.stable, reason, None, bucket)

    def _decision(
        self,
        path: CompiledPath,
        version: str,
        reason: str,
        rule_id: str | None = None,
        bucket: int | None = None,
    ) -> Decision:
        return Decision(
            path.key,
            version,
            reason,
            self.generation,
            rule_id,
            bucket,
            "serve",
            None,
            self.stale,
        )

    def _forced(self, path: CompiledPath, context: Context) -> Decision | None:
        for source, text, reason in (
            ("header", context.meta.get(OVERRIDE_META), Reason.FORCED_HEADER),
            ("query", context.query.get(OVERRIDE_QUERY), Reason.FORCED_QUERY),
        ):
            if text is None:
                continue
            name = context.read_override(text)
            if name is None:
                context.deny(source)
                continue
            version = path.release.version_of(name)
            if version in path.versions:
                return self._decision(path, version, reason)
        return None

    def _may_apply(self, rule: CompiledRule, context: Context) -> bool:
        """Ask what is dear or changes with time last: few calls come this far."""
        if rule.valid_from_s is not None and self.wall_clock() < rule.valid_from_s:
            return False
        if rule.valid_until_s is not None and self.wall_clock() >= rule.valid_until_s:
            return False
        if rule.trust is None or context.has_trust(rule.trust):
            return True
        context.deny("rule")
        return False


def subject_of(stickiness: tuple[tuple[str, ...], ...], context: Context) -> str | None:
    """Return the first identity that the caller has all parts of; None: nobody to stick to."""
    for names in stickiness:
        if len(names) == 1:
            subject = context.identity(names[0])
            if subject:
                return subject
            continue
        parts = [context.identity(name) for name in names]
        if all(parts):
            return "\x1f".join(parts)  # type: ignore[arg-type]
    return None


# --- The compiler -----------------------------------------------------------------------------


def compile_rule_set(
    rule_set: RuleSet,
    facts: Mapping[str, PathFacts],
    *,
    generation: int,
    checksum: str = "",
    is_static: bool = False,
    stale: bool = False,
    wall_clock: Callable[[], float] = time.time,
) -> Snapshot:
    """
    Return the snapshot of a rule set for the code that runs here.

    Only paths that this code declares are compiled. A rule that names a version unknown here is
    skipped, a release that does so falls back to the one in code: newer code published it.
    """
    segments = {name: compile_segment(segment) for name, segment in rule_set.segments.items()}
    by_path: dict[str, list[Rule]] = {}
    for rule in in_order(rule_set.rules):
        by_path.setdefault(rule.path, []).append(rule)
    paths = {
        key: _compile_path(known, rule_set, by_path.get(key, ()), segments, now_s=wall_clock())
        for key, known in facts.items()
    }
    return Snapshot(
        generation=generation,
        checksum=checksum,
        paths=paths,
        is_static=is_static,
        stale=stale,
        wall_clock=wall_clock,
    )


def _compile_path(
    facts: PathFacts,
    rule_set: RuleSet,
    rules: Sequence[Rule],
    segments: Mapping[str, Test],
    *,
    now_s: float,
) -> CompiledPath:
    policy = rule_set.paths.get(facts.key, PathPolicy(facts.release))
    release = _known_release(policy.release, facts)
    compiled, skipped = [], []
    for rule in rules:
        why = _why_skipped(rule, release, facts, now_s)
        if why:
            skipped.append((rule, why))
        else:
            compiled.append(_compile_rule(rule, release, facts, segments))
    return CompiledPath(
        key=facts.key,
        release=release,
        versions=frozenset(facts.versions),
        stopped=_why_stopped(facts.key, rule_set, policy),
        rules=tuple(compiled),
        skipped=tuple(skipped),
        chains={version: (version, *release.falls_to(version)) for version in facts.versions},
        policies={
            version: _policy_of(version, release, facts, rule_set.breakers.get(facts.key, {}))
            for version in facts.versions
        },
    )


def _known_release(told: Release, facts: PathFacts) -> Release:
    if told.stable not in facts.versions:
        return facts.release
    canary = told.canary if told.canary in facts.versions else None
    fallback = told.fallback if told.fallback in facts.versions else None
    return Release(told.stable, canary, fallback)


def _why_stopped(key: str, rule_set: RuleSet, policy: PathPolicy) -> str | None:
    if rule_set.is_killed or key in rule_set.killed_paths:
        return Reason.KILL_SWITCH
    if not policy.is_enabled:
        return Reason.PATH_DISABLED
    if policy.is_rolled_back:
        return Reason.ROLLED_BACK
    return None


def _why_skipped(rule: Rule, release: Release, facts: PathFacts, now_s: float) -> str:
    if not rule.is_enabled:
        return "disabled"
    if rule.valid_until is not None and rule.valid_until.timestamp() <= now_s:
        return "expired"
    version = release.version_of(rule.serve)
    if version is None:
        return f"the release has no {rule.serve}"
    if version not in facts.versions:
        return f"version {version} is not in this code"
    return ""


def _policy_of(
    version: str, release: Release, facts: PathFacts, told: Mapping[str, BreakerPolicy]
) -> BreakerPolicy:
    role = release.role_of(version)
    if version in told:
        return told[version]
    if role in told:
        return told[role]
    if facts.fallback == "never" or not release.falls_to(version):
        # Opening it would turn a blip of a shared database into refusals.
        return METRICS_ONLY
    return PRESETS["default"]


def _compile_rule(
    rule: Rule, release: Release, facts: PathFacts, segments: Mapping[str, Test]
) -> CompiledRule:
    stickiness = rule.stickiness or facts.stickiness or DEFAULT_STICKINESS
    return CompiledRule(
        rule=rule,
        version=release.version_of(rule.serve) or release.stable,
        reason=rule.reason,
        tests=tuple(compile_clause(clause, segments) for clause in rule.match),
        trust=None if rule.trust == "any" else rule.trust,
        share_bp=None if rule.share_bp >= BUCKETS else rule.share_bp,
        salt=rule.draws_by,
        stickiness=tuple(tuple(names.split("+")) for names in stickiness),
        valid_from_s=_timestamp(rule.valid_from),
        valid_until_s=_timestamp(rule.valid_until),
    )


def _timestamp(instant: datetime | None) -> float | None:
    return None if instant is None else instant.timestamp()

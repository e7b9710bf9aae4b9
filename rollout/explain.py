"""A decision told step by step: every rule, every clause, the bucket and the trust. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rollout.clauses import Context
from rollout.rules import Clause, Rule, Tier, bucket_of
from rollout.snapshot import CompiledRule, Snapshot, subject_of


def explain(snapshot: Snapshot, key: str, context: Context) -> dict[str, Any]:
    """
    Return why a call of a path would be decided as it is, as plain JSON.

    rules: all rules of the path in the order in which they are asked, the skipped ones last; each
    with its clauses and whether they hold, the trust, the bucket, and whether it would serve.
    Nothing is counted and no breaker is asked. Raises KeyError for an unknown path.
    """
    path = snapshot.paths[key]
    decision = snapshot.decide(key, _Quiet(context))
    told = asdict(decision)
    del told["breaker_token"]
    return {
        "path": key,
        "generation": snapshot.generation,
        "release": asdict(path.release),
        "stopped": path.stopped,
        "decision": told,
        "rules": [
            *(_explain_rule(rule, context, snapshot.wall_clock()) for rule in path.rules),
            *({**_head(rule), "skipped": why, "would_serve": False} for rule, why in path.skipped),
        ],
    }


def _explain_rule(compiled: CompiledRule, context: Context, now_s: float) -> dict[str, Any]:
    rule = compiled.rule
    clauses = [
        {**_told(clause), "holds": test(context)}
        for clause, test in zip(rule.match, compiled.tests, strict=True)
    ]
    has_trust = compiled.trust is None or context.has_trust(compiled.trust)
    is_valid_now = (compiled.valid_from_s is None or now_s >= compiled.valid_from_s) and (
        compiled.valid_until_s is None or now_s < compiled.valid_until_s
    )
    share = _explain_share(compiled, context)
    holds = all(clause["holds"] for clause in clauses)
    return {
        **_head(rule),
        "clauses": clauses,
        "trust": {"required": rule.trust, "holds": has_trust},
        "is_valid_now": is_valid_now,
        "share": share,
        "would_serve": holds and has_trust and is_valid_now and share["holds"],
    }


def _explain_share(compiled: CompiledRule, context: Context) -> dict[str, Any]:
    share_bp = compiled.rule.share_bp
    if compiled.share_bp is None:
        return {"share_bp": share_bp, "subject": None, "bucket": None, "holds": True}
    subject = subject_of(compiled.stickiness, context)
    bucket = None if subject is None else bucket_of(compiled.salt, subject)
    return {
        "share_bp": share_bp,
        "salt": compiled.salt,
        "subject": subject,
        "bucket": bucket,
        "holds": bucket is not None and bucket < share_bp,
    }


def _head(rule: Rule) -> dict[str, Any]:
    tier: Tier = rule.tier
    return {
        "id": rule.id,
        "tier": tier.name.lower(),
        "priority": rule.priority,
        "serve": rule.serve,
        "reason": rule.reason,
        "note": rule.note,
    }


def _told(clause: Clause) -> dict[str, Any]:
    options: Mapping[str, Any] = clause.options
    # A list of ids may be long, and an explanation is read by people.
    shown = {
        name: list(value[:10]) if isinstance(value, tuple) else value
        for name, value in options.items()
    }
    return {"kind": clause.kind, "not": clause.negated, **shown}


@dataclass(slots=True)
class _Quiet:
    """A context that counts nothing."""

    context: Context

    def __getattr__(self, name: str) -> Any:
        return getattr(self.context, name)

    def deny(self, source: str) -> None:
        """An explanation is no attempt."""

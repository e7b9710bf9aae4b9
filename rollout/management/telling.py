"""What the command prints, as lines."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rollout.changes import Operation
from rollout.models import BreakerTransition, RuleSetRevision
from rollout.usecases import Preview

Told = Mapping[str, Any]


def status_lines(status: Told) -> Iterator[str]:
    """Return how rollout stands."""
    yield f"generation {status['generation']} in force"
    yield convergence_line(status["workers"])
    for path in status["paths"]:
        roles = ", ".join(f"{role} {name}" for role, name in path["release"].items() if name)
        stopped = f", stopped: {path['stopped']}" if path["stopped"] else ""
        yield f"{path['path']}: {roles}; {path['rules']} rules{stopped}"
    for key in status["unknown_paths"]:
        yield f"{key}: in the rules, but not in this code"
    yield from breaker_lines(
        [one for one in status["breakers"] if _state_of(one) != "closed" or _is_forced(one)]
    )


def convergence_line(told: Told | None) -> str:
    """Return how many workers have a generation."""
    if told is None:
        return "workers: not known, Redis is not there or cannot be asked"
    lag = "" if told["lag_ms_p99"] is None else f", p99 lag {told['lag_ms_p99']:.0f} ms"
    return (
        f"{told['acknowledged']} of {told['live']} workers on generation {told['generation']}{lag}"
    )


def breaker_lines(breakers: Iterable[Told]) -> Iterator[str]:
    """Return one line for each breaker."""
    for one in breakers:
        falls_to = ", ".join(one["falls_to"]) or "nothing"
        yield (
            f"{one['path']} {one['version']} ({one['role']}): {_state_of(one)},"
            f" mode {one['mode']}, falls to {falls_to}"
        )


def _state_of(breaker: Told) -> str:
    """Return the state that callers meet, as far as a program beside the workers can tell."""
    if breaker["mode"] == "forced_open":
        return "open"
    if breaker["mode"] != "auto" or breaker["fleet"] is None:
        return "closed"
    state: str = breaker["fleet"]["state"]
    return state


def _is_forced(breaker: Told) -> bool:
    return breaker["mode"] in ("forced_open", "forced_closed")


def change_lines(changes: Sequence[Operation]) -> Iterator[str]:
    """Return one line for each operation of a JSON patch."""
    for change in changes:
        value = ""
        if "value" in change:
            value = " " + json.dumps(change["value"], ensure_ascii=False, sort_keys=True)
        yield f"{change['op']} {change['path'] or '/'}{value}"


def fault_lines(faults: Sequence[Told]) -> Iterator[str]:
    """Return one line for each fault of a rule set."""
    for fault in faults:
        yield f"{fault['pointer'] or '/'}: {fault['message']} ({fault['code']})"


def history_lines(revisions: Iterable[RuleSetRevision]) -> Iterator[str]:
    """Return one line for each generation."""
    for revision in revisions:
        at = revision.created_at.isoformat(timespec="seconds")
        yield f"{revision.generation}  {at}  {revision.author}: {revision.comment}"


def transition_lines(transitions: Iterable[BreakerTransition]) -> Iterator[str]:
    """Return one line for each change of state."""
    for one in transitions:
        at = one.at.isoformat(timespec="milliseconds")
        yield (
            f"{at}  {one.path} {one.version}: {one.from_state} -> {one.to_state} ({one.cause};"
            f" {one.total} calls, {one.errors} errors, {one.slow} slow) by {one.worker}"
        )


def preview_lines(preview: Preview) -> Iterator[str]:
    """Return what would change, and who would move."""
    yield from change_lines(preview.changes)
    if not preview.moves:
        yield f"nobody of {preview.sample_size} callers would meet another version"
    for move in preview.moves:
        yield (
            f"{move.path}: {move.from_version} -> {move.to_version} for {move.count} of"
            f" {preview.sample_size} callers ({move.share_bp / 100:.2f} %)"
        )


def explanation_lines(told: Told) -> Iterator[str]:
    """Return why a call would be served as it would."""
    serves = told["serves"]
    because = serves["reason"] + (f", was {serves['base_reason']}" if serves["base_reason"] else "")
    yield f"{told['path']} on generation {told['generation']}: {_served(serves)} ({because})"
    if told["stopped"]:
        yield f"  rules are not asked: {told['stopped']}"
    for override in told["overrides"]:
        what = override["version"] or ("unknown version" if override["is_trusted"] else "denied")
        yield f"  override by {override['source']}: {what}"
    for rule in told["rules"]:
        yield from _rule_lines(rule)
    for step in told["breakers"]:
        yield (
            f"  breaker of {step['version']} ({step['role']}): {step['state']},"
            f" mode {step['mode']}, admits: {step['admits']}"
        )


def _served(serves: Told) -> str:
    return "refused" if serves["version"] is None else f"{serves['version']} serves"


def _rule_lines(rule: Told) -> Iterator[str]:
    verdict = "would serve" if rule["would_serve"] else "no"
    yield f"  rule {rule['id']} -> {rule['serve']} [{rule['tier']} {rule['priority']}]: {verdict}"
    if "skipped" in rule:
        yield f"    skipped: {rule['skipped']}"
        return
    for clause in rule["clauses"]:
        told = " ".join(
            f"{name}={value}" for name, value in clause.items() if name not in ("kind", "holds")
        )
        yield f"    {clause['kind']} {told}: {_yes(clause['holds'])}"
    if rule["trust"]["required"] != "any":
        yield f"    trust {rule['trust']['required']}: {_yes(rule['trust']['holds'])}"
    if not rule["is_valid_now"]:
        yield "    not valid now"
    share = rule["share"]
    if share["subject"] is not None:
        yield (
            f"    share {share['share_bp']} bp, bucket {share['bucket']} of"
            f" {share['subject']!r}: {_yes(share['holds'])}"
        )
    elif not share["holds"]:
        yield f"    share {share['share_bp']} bp, nobody to stick to: no"


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"

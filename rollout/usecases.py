"""The public door to rules: publish, promote, roll back, kill, and see beforehand what it does."""

import copy
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Model, QuerySet

from rollout import announcing, storage
from rollout.changes import Operation, changes_between
from rollout.context import CallContext
from rollout.document import canonical, checksum_of, read_document
from rollout.errors import (
    InvalidRuleSet,
    NothingToPromote,
    StaleGeneration,
    UnknownPath,
    UnknownSchema,
    UnknownVersion,
)
from rollout.models import AuditEvent, BreakerTransition, RuleSetRevision
from rollout.policies import MODES
from rollout.rules import PathFacts, Release
from rollout.runtime import runtime
from rollout.snapshot import Snapshot, compile_rule_set
from rollout.storage import Published

SAMPLE_SIZE = 10_000
EXAMPLES_MAX = 10

Document = Mapping[str, Any]
Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who publishes, and from where."""

    name: str
    kind: str = "user"
    request_id: str = ""
    ip: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """Subjects of the sample that would meet another version of a path."""

    path: str
    from_version: str
    to_version: str
    count: int
    share_bp: int
    examples: tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What publishing a draft would do."""

    from_generation: int
    changes: Sequence[Operation]
    sample_size: int
    moves: Sequence[Move]


# --- Reading ----------------------------------------------------------------------------------


def get_current() -> Published:
    """Return the rule set in force."""
    return storage.get_published(storage.get_generation())


def get_generation(generation: int) -> Published:
    """Return a rule set that was published; raises UnknownGeneration."""
    return storage.get_published(generation)


def compare(from_generation: int, to_generation: int) -> list[Operation]:
    """Return the JSON patch from one generation to another; raises UnknownGeneration."""
    before, after = storage.get_published(from_generation), storage.get_published(to_generation)
    return changes_between(before.payload, after.payload)


def list_generations(
    *, before: int | None = None, limit: int = 50
) -> tuple[list[RuleSetRevision], int | None]:
    """Return what was published, newest first and without its rules, and where to go on."""
    revisions = storage.list_revisions().defer("payload")
    if before is not None:
        revisions = revisions.filter(pk__lt=before)
    return _page(revisions, limit)


def list_audit_events(
    *, path: str | None = None, before: int | None = None, limit: int = 50
) -> tuple[list[AuditEvent], int | None]:
    """Return the trail, newest first, and where to go on; of one path, or all of it."""
    events = storage.list_audit_events()
    if path is not None:
        events = events.filter(path=path)
    if before is not None:
        events = events.filter(pk__lt=before)
    return _page(events, limit)


def list_transitions(
    *, path: str | None = None, before: int | None = None, limit: int = 50
) -> tuple[list[BreakerTransition], int | None]:
    """Return what breakers did, newest first, and where to go on; of one path, or of all."""
    transitions = storage.list_transitions()
    if path is not None:
        transitions = transitions.filter(path=path)
    if before is not None:
        transitions = transitions.filter(pk__lt=before)
    return _page(transitions, limit)


def _page(rows: QuerySet[Row], limit: int) -> tuple[list[Row], int | None]:
    found = list(rows[: limit + 1])
    return found[:limit], found[limit - 1].pk if len(found) > limit else None


def verify_audit() -> Sequence[int]:
    """
    Return the numbers of audit events whose link is broken; empty when the trail is whole.

    A row that was changed is named itself, a row that is missing by the one after it. Rows missing
    at the very end show only to whoever kept a later hash.
    """
    return storage.list_broken_audit_ids()


# --- Publishing -------------------------------------------------------------------------------


def publish(
    draft: Document, *, expected_generation: int, actor: Actor, comment: str, reason: str = ""
) -> Published:
    """
    Put a draft in force as the next generation, if nobody published meanwhile.

    Workers follow within milliseconds of the commit. Raises StaleGeneration, InvalidRuleSet,
    UnknownSchema; then nothing changed.
    """
    return _publish(
        lambda _: draft,
        action="publish",
        expected_generation=expected_generation,
        actor=actor,
        comment=comment,
        reason=reason,
    )


def roll_back(
    to_generation: int, *, expected_generation: int, actor: Actor, comment: str = ""
) -> Published:
    """
    Publish the content of an earlier generation as a new one.

    Raises StaleGeneration, UnknownGeneration, and InvalidRuleSet when the old rules name what the
    code has no more.
    """
    old = storage.get_published(to_generation)
    return _publish(
        lambda _: old.payload,
        action="roll_back",
        expected_generation=expected_generation,
        actor=actor,
        comment=comment or f"back to generation {to_generation}",
    )


def promote(path: str, *, expected_generation: int, actor: Actor, comment: str = "") -> Published:
    """
    Make the canary stable, and what was stable its fallback.

    Rules that serve the canary of this path go: there is none any more. Raises StaleGeneration,
    UnknownPath, NothingToPromote.
    """
    facts = _known(path)
    return _publish(
        lambda current: _promoted(current, path, facts),
        action="promote",
        path=path,
        expected_generation=expected_generation,
        actor=actor,
        comment=comment or f"promote the canary of {path}",
    )


def set_kill_switch(
    *, is_killed: bool, path: str | None = None, actor: Actor, reason: str = ""
) -> Published:
    """
    Send everything (or one path) to stable, or let rules decide again.

    In a hurry nobody should lose a race: it changes whatever is in force. A switch that stands so
    already moves nothing, and the generation in force is returned. Raises UnknownPath.
    """
    if path is not None:
        _known(path)
    return _publish(
        lambda current: _killed(current, path, is_killed=is_killed),
        action="kill" if is_killed else "revive",
        path=path or "",
        expected_generation=None,
        actor=actor,
        comment=reason or ("kill switch" if is_killed else "kill switch lifted"),
        reason=reason,
        may_be_idle=True,
    )


def set_breaker_mode(
    path: str,
    version: str,
    mode: str,
    *,
    expected_generation: int | None = None,
    actor: Actor,
    reason: str = "",
) -> Published:
    """
    Force a version's breaker open or closed, or let its policy decide again (auto).

    version: a version or a role. mode: one of rollout.policies.MODES. It is rule data, so all
    workers follow and a lost Redis changes nothing. Without expected_generation it changes
    whatever is in force; a mode that stands already moves nothing.
    Raises UnknownPath, UnknownVersion, StaleGeneration, and ValueError for another mode.
    """
    if mode not in MODES:
        raise ValueError(f"{mode!r}: write one of {', '.join(MODES)}")
    facts = _known(path)
    return _publish(
        lambda current: _with_mode(current, facts, version, mode),
        action="breaker_mode",
        path=path,
        expected_generation=expected_generation,
        actor=actor,
        comment=reason or f"breaker of {path} {version}: {mode}",
        reason=reason,
        may_be_idle=True,
    )


def _publish(
    change: Callable[[Document], Document],
    *,
    action: str,
    expected_generation: int | None,
    actor: Actor,
    comment: str,
    reason: str = "",
    path: str = "",
    may_be_idle: bool = False,
) -> Published:
    with transaction.atomic():
        current = storage.lock_generation()
        if expected_generation is not None and current != expected_generation:
            raise StaleGeneration(
                expected_generation=expected_generation, current_generation=current
            )
        before = storage.get_published(current)
        payload = change(before.payload)
        if may_be_idle and payload == before.payload:
            return before
        facts = runtime.facts
        # The compiler that workers use, so that what they cannot load is never published.
        compile_rule_set(read_document(payload, paths=facts), facts, generation=current + 1)
        published = Published(current + 1, payload, checksum_of(payload))
        storage.add_revision(
            generation=published.generation,
            payload=payload,
            checksum=published.checksum,
            author=actor.name,
            comment=comment,
        )
        if not storage.move_generation(expected=current, to=published.generation):
            raise AssertionError("the generation moved although its row is locked")
        storage.add_audit_event(
            actor=actor.name,
            actor_kind=actor.kind,
            action=action,
            path=path,
            from_generation=current,
            to_generation=published.generation,
            diff=changes_between(before.payload, payload),
            reason=reason or comment,
            request_id=actor.request_id,
            ip=actor.ip,
        )
        storage.notify_generation(published.generation)
        # Not before the commit: a worker would load the old rules under the new number.
        transaction.on_commit(
            partial(
                announcing.announce,
                generation=published.generation,
                checksum=published.checksum,
                text=canonical(payload),
            ),
            robust=True,
        )
    return published


def _known(path: str) -> PathFacts:
    facts = runtime.facts.get(path)
    if facts is None:
        raise UnknownPath(path)
    return facts


def _promoted(current: Document, path: str, facts: PathFacts) -> Document:
    changed = copy.deepcopy(dict(current))
    release = changed.setdefault("releases", {}).setdefault(
        path,
        {
            "stable": facts.release.stable,
            "canary": facts.release.canary,
            "fallback": facts.release.fallback,
        },
    )
    canary = release.get("canary")
    if canary is None:
        raise NothingToPromote(path)
    changed["releases"][path] = {
        **release,
        "stable": canary,
        "canary": None,
        "fallback": release["stable"],
    }
    changed["rules"] = [
        rule
        for rule in changed.get("rules", [])
        if not (rule["path"] == path and rule["serve"] == "canary")
    ]
    return changed


def _killed(current: Document, path: str | None, *, is_killed: bool) -> Document:
    changed = copy.deepcopy(dict(current))
    switch = changed.setdefault("kill_switch", {})
    if path is None:
        switch["all"] = is_killed
        return changed
    paths = set(switch.get("paths", []))
    switch["paths"] = sorted(paths | {path} if is_killed else paths - {path})
    return changed


def _with_mode(current: Document, facts: PathFacts, name: str, mode: str) -> Document:
    told = current.get("releases", {}).get(facts.key)
    release = (
        facts.release
        if told is None
        else Release(told["stable"], told.get("canary"), told.get("fallback"))
    )
    version = release.version_of(name)
    if version not in facts.versions:
        raise UnknownVersion(facts.key, name)
    changed = copy.deepcopy(dict(current))
    policies = changed.setdefault("breakers", {}).setdefault(facts.key, {})
    role = release.role_of(version)
    # Where a policy of the role is in force, the mode joins it: one of the version alone would
    # hide all the rest of it.
    entry = role if role in policies and version not in policies else version
    policy = dict(policies.get(entry, {}))
    if mode != "auto":
        policy["mode"] = mode
    elif policy.get("mode") != "auto":
        policy.pop("mode", None)
    policies[entry] = policy
    if not policy:
        # An empty policy is not none: it would give a breaker to what has nowhere to fall.
        del policies[entry]
    if not policies:
        del changed["breakers"][facts.key]
    return changed


# --- Seeing beforehand ------------------------------------------------------------------------


def validate(draft: object) -> Sequence[Mapping[str, Any]]:
    """
    Return why a draft could not be published, each fault by JSON pointer; empty when it could.

    Judged by the code that runs here. Changes nothing.
    """
    facts = runtime.facts
    try:
        rule_set = read_document(draft, paths=facts)
        compile_rule_set(rule_set, facts, generation=0)
    except InvalidRuleSet as refusal:
        return refusal.errors
    except UnknownSchema as refusal:
        return [
            {"pointer": "/schema_version", "code": refusal.code, "message": str(refusal)},
        ]
    return ()


def preview(draft: Document, *, sample: Iterable[Mapping[str, object]] | None = None) -> Preview:
    """
    Return what publishing a draft would change, and who would meet another version.

    sample: the identities of callers, as [{"account": 7, "customer": "ada"}]; without it 10,000
    made-up ones, whose shares are right within a percent point, and everybody whom the old rules
    or the draft name. Raises InvalidRuleSet, UnknownSchema. Changes nothing.
    """
    facts = runtime.facts
    current = get_current()
    rule_set = read_document(draft, paths=facts)
    before = compile_rule_set(read_document(current.payload), facts, generation=current.generation)
    after = compile_rule_set(rule_set, facts, generation=current.generation + 1)
    callers = list(sample) if sample is not None else list(_made_up(current.payload, draft))
    return Preview(
        from_generation=current.generation,
        changes=changes_between(current.payload, draft),
        sample_size=len(callers),
        moves=list(_moves(before, after, callers)),
    )


def _moves(
    before: Snapshot, after: Snapshot, callers: Sequence[Mapping[str, object]]
) -> Iterator[Move]:
    for path in sorted(before.paths):
        counts: Counter[tuple[str, str]] = Counter()
        examples: dict[tuple[str, str], list[Mapping[str, str]]] = {}
        for number, caller in enumerate(callers):
            if number % 100 == 0:
                time.sleep(0)  # Under gevent this thread serves orders too.
            old = before.decide(path, CallContext(before, identities=caller)).version
            new = after.decide(path, CallContext(after, identities=caller)).version
            if old != new:
                counts[old, new] += 1
                known = examples.setdefault((old, new), [])
                if len(known) < EXAMPLES_MAX:
                    known.append({name: str(value) for name, value in caller.items()})
        for (old, new), count in counts.most_common():
            yield Move(
                path=path,
                from_version=old,
                to_version=new,
                count=count,
                share_bp=round(count * 10_000 / len(callers)),
                examples=tuple(examples[old, new]),
            )


def _made_up(*documents: Document) -> Iterator[Mapping[str, object]]:
    for number in range(SAMPLE_SIZE):
        name = f"sample-{number}"
        yield {"account": name, "user": name, "customer": name}
    for identity, name in sorted({one for document in documents for one in _named(document)}):
        yield {identity: name}


def _named(document: Document) -> Iterator[tuple[str, str]]:
    for rule in document.get("rules", []):
        for clause in rule.get("match", []):
            if clause["kind"] in ("user", "account"):
                for name in clause["values"]:
                    yield clause["kind"], name
    for segment in document.get("segments", {}).values():
        for name in segment.get("ids", [])[:SAMPLE_SIZE]:
            yield segment.get("identity", "account"), name

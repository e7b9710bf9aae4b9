"""What can be asked of rules, breakers and workers, as plain JSON. Changes nothing."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis

from rollout import announcing, storage
from rollout.announcing import Convergence
from rollout.breaker import CLOSED, HALF_OPEN, STATE_NAMES, Breaker, BreakerView
from rollout.clauses import text_of
from rollout.context import AskedContext
from rollout.document import read_document
from rollout.errors import UnknownPath
from rollout.explain import explain
from rollout.policies import BreakerPolicy, write_policy
from rollout.rules import Reason
from rollout.runtime import runtime
from rollout.snapshot import (
    OVERRIDE_META,
    OVERRIDE_QUERY,
    CompiledPath,
    Snapshot,
    compile_rule_set,
)

# How often convergence is asked for while somebody waits: at first as fast as workers are.
POLL_S_MIN, POLL_S_MAX = 0.005, 0.05

Told = dict[str, Any]

_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")


@dataclass(frozen=True, slots=True)
class FleetBreaker:
    """What all workers together made of one breaker, as Redis keeps it."""

    state: int
    epoch: int
    retry_in_ms: int


def snapshot_of(generation: int | None = None) -> Snapshot:
    """
    Return the rules of a generation, compiled; without one, those in force in the database.

    For programs that serve no requests: a worker has its own in runtime.snapshot.
    Raises UnknownGeneration, UnknownSchema.
    """
    number = storage.get_generation() if generation is None else generation
    published = storage.get_published(number)
    return compile_rule_set(
        read_document(published.payload),
        runtime.facts,
        generation=published.generation,
        checksum=published.checksum,
    )


# --- Workers ----------------------------------------------------------------------------------


def await_convergence(generation: int, *, timeout_s: float) -> Convergence | None:
    """
    Wait until every live worker has a generation, at most timeout_s, and return who has it.

    None: there is no Redis, or it cannot be asked. Workers find the rules without it as well, but
    nobody knows when.
    """
    deadline_s, pause_s = time.monotonic() + timeout_s, POLL_S_MIN
    while True:
        found = announcing.convergence(generation)
        left_s = deadline_s - time.monotonic()
        if (found is not None and found.is_complete) or left_s <= 0 or announcing.client() is None:
            return found
        time.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 2, POLL_S_MAX)


def tell_convergence(found: Convergence | None) -> Told | None:
    """Return how far a generation has come; None when nobody knows."""
    if found is None:
        return None
    # Nearest rank: the longest of up to a hundred workers.
    lags = sorted(lag for worker, lag in found.lag_ms.items() if worker in found.workers)
    return {
        "generation": found.generation,
        "is_complete": found.is_complete,
        "live": len(found.workers),
        "acknowledged": len(lags),
        "lag_ms_p99": lags[-1 - len(lags) // 100] if lags else None,
        "workers": [
            {"worker": worker, "lag_ms": found.lag_ms.get(worker)}
            for worker in sorted(found.workers)
        ],
    }


# --- Status -----------------------------------------------------------------------------------


def tell_status(snapshot: Snapshot) -> Told:
    """
    Return how rollout stands: generation, releases, breakers, workers.

    snapshot: what this process has in force; it may be behind the database, and says so.
    """
    published = storage.get_published(storage.get_generation())
    convergence = announcing.convergence(published.generation)
    breakers = tell_breakers(snapshot)
    return {
        "generation": published.generation,
        "checksum": published.checksum,
        "here": {
            "generation": snapshot.generation,
            "is_stale": snapshot.stale,
            "is_static": snapshot.is_static,
        },
        "shared": {
            "is_configured": announcing.client() is not None,
            "is_degraded": convergence is None,
        },
        "workers": tell_convergence(convergence),
        "paths": [_tell_path(snapshot.paths[key]) for key in sorted(snapshot.paths)],
        # Rules may name what newer or older code declares; here nobody executes them.
        "unknown_paths": sorted(_named_paths(published.payload) - snapshot.paths.keys()),
        "breakers": breakers,
    }


def _tell_path(path: CompiledPath) -> Told:
    facts = runtime.facts[path.key]
    return {
        "path": path.key,
        "owner": facts.owner,
        "effects": facts.effects,
        "versions": list(facts.versions),
        "release": asdict(path.release),
        "stopped": path.stopped,
        "rules": len(path.rules),
        "skipped_rules": len(path.skipped),
    }


def _named_paths(payload: Mapping[str, Any]) -> set[str]:
    return (
        set(payload.get("releases", {}))
        | set(payload.get("breakers", {}))
        | set(payload.get("kill_switch", {}).get("paths", ()))
        | {rule["path"] for rule in payload.get("rules", ())}
    )


# --- Breakers ---------------------------------------------------------------------------------


def tell_breakers(snapshot: Snapshot) -> list[Told]:
    """Return each version's breaker: its policy, how it stands here, and what the fleet says."""
    pairs = [(key, version) for key, path in snapshot.paths.items() for version in path.policies]
    fleet = find_fleet_breakers(pairs) or {}
    return [
        _tell_breaker(snapshot.paths[key], version, snapshot.breakers, fleet)
        for key, version in sorted(pairs)
    ]


def _tell_breaker(
    path: CompiledPath,
    version: str,
    breakers: Mapping[tuple[str, str], Breaker],
    fleet: Mapping[tuple[str, str], FleetBreaker],
) -> Told:
    breaker, shared = breakers.get((path.key, version)), fleet.get((path.key, version))
    policy = path.policies[version]
    return {
        "path": path.key,
        "version": version,
        "role": path.release.role_of(version),
        "mode": policy.mode,
        "falls_to": list(path.chains[version][1:]),
        "here": None if breaker is None else _tell_view(breaker.view()),
        "fleet": None if shared is None else {**asdict(shared), "state": STATE_NAMES[shared.state]},
        "policy": write_policy(policy),
    }


def _tell_view(view: BreakerView) -> Told:
    told = asdict(view)
    for name in ("path", "version", "mode"):
        del told[name]
    return {**told, "state": STATE_NAMES[view.state]}


def find_fleet_breakers(
    pairs: Sequence[tuple[str, str]],
) -> dict[tuple[str, str], FleetBreaker] | None:
    """
    Return what Redis keeps of breakers (see sharing.SYNC); None when it cannot be asked.

    What nobody shared, or what a key holds that nobody here wrote, is left out.
    """
    connection = announcing.client()
    if connection is None:
        return None
    try:
        with connection.pipeline(transaction=False) as pipeline:
            pipeline.time()
            for path, version in pairs:
                pipeline.hmget(
                    announcing.key(f"brk:{path}:{version}"), "state", "epoch", "retry_at"
                )
            clock, *answers = pipeline.execute(raise_on_error=False)
    except redis.RedisError:
        return None
    if not isinstance(clock, list | tuple):
        return None
    now_ms = clock[0] * 1000 + clock[1] // 1000
    read = (
        (pair, _read_fleet_breaker(answer, now_ms))
        for pair, answer in zip(pairs, answers, strict=True)
    )
    return {pair: told for pair, told in read if told is not None}


def _read_fleet_breaker(answer: object, now_ms: int) -> FleetBreaker | None:
    try:
        state, epoch, retry_at = (int(text) for text in answer)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    if not 0 <= state < len(STATE_NAMES):
        return None
    return FleetBreaker(state, epoch, 0 if state == CLOSED else max(0, retry_at - now_ms))


# --- Explaining -------------------------------------------------------------------------------


def imagine_call(
    snapshot: Snapshot,
    *,
    identities: Mapping[str, object],
    headers: Mapping[str, str],
    query: Mapping[str, str],
    attributes: Mapping[str, str],
    trusts: Iterable[str] = (),
    method: str = "",
    url_path: str = "",
) -> AskedContext:
    """Return a call that nobody makes; attributes that read as numbers are numbers."""
    return AskedContext(
        snapshot,
        identities=identities,
        headers=headers,
        query=query,
        attributes={name: _value_of(text) for name, text in attributes.items()},
        trusts=frozenset(trusts),
        method=method.upper(),
        url_path=url_path,
    )


def _value_of(text: str) -> object:
    if not _NUMBER.fullmatch(text):
        return text
    number = float(text) if "." in text else int(text)
    # 007 is a name, and so is what would come back as another text.
    return number if text_of(number) == text else text


def explain_call(key: str, context: AskedContext) -> Told:
    """
    Return why such a call would be served as it would: rules, clauses, bucket, trust, breakers.

    breakers: the version decided for and what it falls to, nearest first, with whether its
    breaker admits a call now: yes, probe (the next call tries it) or no. serves: what comes of it.
    Nothing is counted. Raises UnknownPath.
    """
    snapshot = context.snapshot
    if key not in snapshot.paths:
        raise UnknownPath(key)
    told = explain(snapshot, key, context)
    path, decision = snapshot.paths[key], told["decision"]
    chain = path.chains[decision["version"]]
    if runtime.facts[key].fallback == "never":
        chain = chain[:1]
    steps = list(_tell_steps(snapshot, path, chain))
    return {
        **told,
        "overrides": list(_tell_overrides(path, context)),
        "breakers": steps,
        "serves": _serves(decision, steps),
    }


def _tell_overrides(path: CompiledPath, context: AskedContext) -> Iterable[Told]:
    for source, text in (
        ("header", context.meta.get(OVERRIDE_META)),
        ("query", context.query.get(OVERRIDE_QUERY)),
    ):
        if text is None:
            continue
        asked = context.read_override(text)
        version = None if asked is None else path.release.version_of(asked)
        yield {
            "source": source,
            "is_trusted": asked is not None,
            # Asked for, but not in this code: as if nothing had been asked.
            "version": version if version in path.versions else None,
        }


def _tell_steps(snapshot: Snapshot, path: CompiledPath, chain: Sequence[str]) -> Iterable[Told]:
    fleet = find_fleet_breakers([(path.key, version) for version in chain]) or {}
    for version in chain:
        policy, breaker = path.policies[version], snapshot.breakers.get((path.key, version))
        view = None if breaker is None else breaker.view()
        shared = fleet.get((path.key, version))
        yield {
            "version": version,
            "role": path.release.role_of(version),
            "mode": policy.mode,
            "state": _state_of(policy, view, shared),
            "admits": _admits(policy, view, shared),
        }


def _state_of(policy: BreakerPolicy, view: BreakerView | None, shared: FleetBreaker | None) -> str:
    if view is not None:
        return STATE_NAMES[view.state]
    if policy.mode == "auto" and shared is not None:
        return STATE_NAMES[shared.state]
    return "open" if policy.mode == "forced_open" else "closed"


def _admits(policy: BreakerPolicy, view: BreakerView | None, shared: FleetBreaker | None) -> str:
    """Answer as Breaker.admit would, without taking a probe away from a real call."""
    state = _state_of(policy, view, shared)
    if state == "closed":
        return "yes"
    # Where the fleet governs, a probe is a lease that Redis hands out: not this worker's to say.
    if view is None or policy.mode != "auto" or view.is_governed:
        return "no"
    if view.state == HALF_OPEN:
        has_place = (
            view.probes_in_flight < policy.max_concurrent_probes
            and view.probes_in_flight + view.probes_succeeded < policy.probe_num
        )
        return "probe" if has_place else "no"
    return "probe" if view.retry_in_ms <= 0 else "no"


def _serves(decision: Told, steps: Sequence[Told]) -> Told:
    step = next((step for step in steps if step["admits"] != "no"), None)
    if step is None:
        return {
            "version": None,
            "reason": Reason.BREAKER_503,
            "base_reason": decision["reason"],
        }
    reason, base_reason = decision["reason"], None
    if step["version"] != decision["version"]:
        reason, base_reason = Reason.BREAKER_FALLBACK, reason
    elif step["admits"] == "probe":
        reason, base_reason = Reason.BREAKER_PROBE, reason
    return {"version": step["version"], "reason": reason, "base_reason": base_reason}

"""What one process knows: the code paths declared, the snapshot in force, the breakers."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from rollout import metrics
from rollout.breaker import Breaker, Transition
from rollout.document import RuleSet
from rollout.errors import CodePathMistake
from rollout.rules import PathFacts
from rollout.snapshot import Snapshot, compile_rule_set

TRANSITIONS_MAX = 10_000


class Declared(Protocol):
    """What the runtime wants of a code path (rollout.codepath.CodePath)."""

    key: str
    versions: dict[str, Callable[..., Any]]

    def facts(self) -> PathFacts:
        """Return what code says about the path."""


class Runtime:
    """
    The state of rollout in one process.

    Readers take `snapshot` once and keep it; putting a new one in place is one attribute store.
    """

    def __init__(self) -> None:
        self.breakers: dict[tuple[str, str], Breaker] = {}
        # Breakers tell here what they did, and whoever logs it takes it from here: a breaker
        # itself must never wait.
        self.transitions: deque[Transition] = deque(maxlen=TRANSITIONS_MAX)
        self.paths: dict[str, Declared] = {}
        self._lock = threading.RLock()
        self._rule_set = RuleSet()
        self._told: dict[str, Any] = {"generation": 0, "checksum": "", "is_static": True}
        self._snapshot: Snapshot | None = None

    @property
    def snapshot(self) -> Snapshot:
        """Return the snapshot in force."""
        snapshot = self._snapshot
        return snapshot if snapshot is not None else self._settle()

    @property
    def facts(self) -> Mapping[str, PathFacts]:
        """Return what code declares, by path; a path without versions is left to the checks."""
        return {key: path.facts() for key, path in self.paths.items() if path.versions}

    def declare(self, path: Declared) -> None:
        """Add a code path; raises CodePathMistake when its key is taken."""
        if path.key in self.paths:
            raise CodePathMistake(f"{path.key} is declared twice")
        self.paths[path.key] = path
        self._snapshot = None

    def forget(self, key: str) -> None:
        """Take a code path away: for tests that declare their own."""
        with self._lock:
            self.paths.pop(key, None)
            for known in [pair for pair in self.breakers if pair[0] == key]:
                del self.breakers[known]
            self._snapshot = None

    def unsettle(self) -> None:
        """Compile again before the next decision, because settings or code changed."""
        self._snapshot = None

    def activate(
        self,
        rule_set: RuleSet,
        *,
        generation: int,
        checksum: str = "",
        is_static: bool = False,
        stale: bool = False,
    ) -> Snapshot:
        """
        Put a rule set in force for all decisions from now on; those under way keep theirs.

        Rules and breakers change together. Breakers keep their state.
        """
        with self._lock:
            self._rule_set = rule_set
            self._told = {
                "generation": generation,
                "checksum": checksum,
                "is_static": is_static,
                "stale": stale,
            }
            return self._settle()

    def _settle(self) -> Snapshot:
        with self._lock:
            bare = compile_rule_set(self._rule_set, self.facts, **self._told)
            breakers = {}
            for key, path in bare.paths.items():
                for version, policy in path.policies.items():
                    breaker = self.breakers.get((key, version))
                    if breaker is None:
                        breaker = Breaker(
                            key,
                            version,
                            policy,
                            notify=self._take_note,
                            observer=metrics.calls_of(key, version),
                        )
                        self.breakers[key, version] = breaker
                    breaker.apply(policy)
                    breakers[key, version] = breaker
            self._snapshot = snapshot = replace(bare, breakers=breakers)
            return snapshot

    def _take_note(self, told: Transition) -> None:
        metrics.count_transition(told)
        self.transitions.append(told)

    def measure(self, *, is_degraded: bool) -> None:
        """Show what is in force; whoever looks after the breakers does it at every tick."""
        metrics.GENERATION.set(self.snapshot.generation)
        metrics.SHARED_STATE_DEGRADED.set(is_degraded)
        for breaker in list(self.breakers.values()):
            metrics.show_breaker(breaker.view())

    def reset(self) -> None:
        """Forget rules and breakers, not the code: for tests and for a process that forked."""
        with self._lock:
            self.breakers.clear()
            self.transitions.clear()
            self._rule_set = RuleSet()
            self._told = {"generation": 0, "checksum": "", "is_static": True}
            self._snapshot = None


runtime = Runtime()

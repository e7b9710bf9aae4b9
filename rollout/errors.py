"""What rollout declines to do, each as a fact that a caller can act on."""

from collections.abc import Sequence
from typing import Any, ClassVar


class RolloutError(Exception):
    """
    The base of every refusal of this app.

    It has the attributes that a project's exception handler needs to answer it, and imports
    nothing of the project: code (stable, for programs), kind (what sort of refusal: invalid,
    conflict, unavailable, …), retryable, effect, facts (names of attributes to tell),
    retry_after_s, errors (one entry for each fault).
    """

    code: ClassVar[str]
    kind: ClassVar[str]
    retryable: ClassVar[bool] = False
    effect: ClassVar[str] = "none"
    facts: ClassVar[tuple[str, ...]] = ()

    retry_after_s: int | None = None
    errors: Sequence[dict[str, Any]] = ()


class InvalidRuleSet(RolloutError):
    """A rule set that cannot be published; errors names each fault by JSON pointer."""

    code, kind = "invalid_rule_set", "invalid"

    def __init__(self, errors: Sequence[dict[str, Any]]) -> None:
        told = "; ".join(f"{fault['pointer'] or '/'}: {fault['message']}" for fault in errors[:5])
        super().__init__(f"the rule set has {len(errors)} fault(s): {told}")
        self.errors = tuple(errors)


class UnknownSchema(RolloutError):
    """A rule set of a schema that this code does not know: newer code published it."""

    code, kind = "unknown_schema", "invalid"
    facts = ("schema_version",)

    def __init__(self, schema_version: object) -> None:
        super().__init__(f"schema_version={schema_version!r} is not known here")
        self.schema_version = schema_version


class StaleGeneration(RolloutError):
    """Somebody published since the draft was begun. Read again, merge, publish again."""

    code, kind = "stale_generation", "conflict"
    facts = ("expected_generation", "current_generation")

    def __init__(self, *, expected_generation: int, current_generation: int) -> None:
        super().__init__(
            f"expected generation {expected_generation}, but {current_generation} is current"
        )
        self.expected_generation = expected_generation
        self.current_generation = current_generation


class UnknownGeneration(RolloutError):
    """No rule set was ever published under this number."""

    code, kind = "unknown_generation", "not_found"
    facts = ("generation",)

    def __init__(self, generation: int) -> None:
        super().__init__(f"no rule set has generation {generation}")
        self.generation = generation


class UnknownPath(RolloutError):
    """No code path of this key is declared."""

    code, kind = "unknown_path", "not_found"
    facts = ("path",)

    def __init__(self, path: str) -> None:
        super().__init__(f"no code path is called {path!r}")
        self.path = path


class UnknownVersion(RolloutError):
    """The code path has no version, and no role, of this name."""

    code, kind = "unknown_version", "not_found"
    facts = ("path", "version")

    def __init__(self, path: str, version: str) -> None:
        super().__init__(f"{path} has no version {version!r}")
        self.path = path
        self.version = version


class NothingToPromote(RolloutError):
    """The release has no canary."""

    code, kind = "nothing_to_promote", "conflict"
    facts = ("path",)

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} has no canary to promote")
        self.path = path


class PathUnavailable(RolloutError):
    """Every version that may serve this call is cut off by its breaker. Nothing was started."""

    code, kind, retryable = "path_unavailable", "unavailable", True
    facts = ("path",)

    def __init__(self, path: str, *, retry_after_s: int) -> None:
        super().__init__(f"{path} is not available, try again in {retry_after_s} s")
        self.path = path
        self.retry_after_s = retry_after_s


class CodePathMistake(Exception):
    """A code path that is declared wrong; no refusal, but a bug that import or check finds."""

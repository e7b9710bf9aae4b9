"""The one shape of a refusal."""

from collections.abc import Sequence
from typing import Any, ClassVar


class AppError(Exception):
    """
    Something Sluice declines to do, as a fact that a caller can act on.

    code: stable name for programs. kind: what sort of refusal, one of the kinds that
    config.problems maps to an HTTP status. retryable: may the same request with the same key
    succeed later? facts: names of attributes to tell the caller. effect: "none" unless the
    refusal cannot know what happened ("unknown") or tells of something done ("applied").
    errors: one entry for each fault, {"pointer", "code", "message", …}; may be empty.
    """

    code: ClassVar[str] = "internal_error"
    kind: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    effect: ClassVar[str] = "none"
    facts: ClassVar[tuple[str, ...]] = ()
    retry_after_s: ClassVar[int | None] = None

    errors: Sequence[dict[str, Any]] = ()

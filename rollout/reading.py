"""Values of a JSON document, read one by one, with every fault collected. Pure."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeGuard

from rollout.patterns import UnsafePattern, compile_pattern

VALUES_MAX = 10_000
# What a float holds exactly; a larger number would come back from some readers as another.
NUMBER_MAX = 2**53
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\Z")


class Reading:
    """
    One reading of one document; collects faults instead of stopping at the first.

    Each method returns the value at a pointer, or tells of a fault and returns something harmless.
    """

    def __init__(self) -> None:
        self.faults: list[dict[str, Any]] = []

    def fault(self, pointer: str, code: str, message: str) -> None:
        """Take note of a fault."""
        self.faults.append({"pointer": pointer, "code": code, "message": message})

    def members(self, told: object, pointer: str) -> Mapping[str, Any]:
        """Return an object's members; none when it is something else."""
        if isinstance(told, dict):
            return told
        self.fault(pointer, "not_an_object", "write an object")
        return {}

    def refuse_unknown(self, told: Mapping[str, Any], known: Any, pointer: str) -> None:
        """Tell of each member that is not known."""
        for name in told:
            if name not in known:
                self.fault(f"{pointer}/{name}", "unknown_member", f"{name!r} is not known here")

    def flag(self, entry: Mapping[str, Any], name: str, pointer: str, *, default: bool) -> bool:
        """Return a boolean member."""
        value = entry.get(name, default)
        if isinstance(value, bool):
            return value
        self.fault(f"{pointer}/{name}", "not_a_boolean", "write true or false")
        return default

    def whole(
        self, entry: Mapping[str, Any], name: str, pointer: str, *, default: int, most: int
    ) -> int:
        """Return a whole number from 0 to most."""
        value = entry.get(name, default)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
            return value
        self.fault(f"{pointer}/{name}", "out_of_range", f"write a whole number from 0 to {most}")
        return default

    def choice(
        self,
        entry: Mapping[str, Any],
        name: str,
        pointer: str,
        *,
        default: str,
        choices: tuple[str, ...],
    ) -> str:
        """Return a member that is one of some words."""
        value = entry.get(name, default)
        if isinstance(value, str) and value in choices:
            return value
        self.fault(f"{pointer}/{name}", "unknown_choice", f"write one of {', '.join(choices)}")
        return default

    def name(
        self, entry: Mapping[str, Any], name: str, pointer: str, *, is_required: bool = True
    ) -> str | None:
        """Return a name; None for one that is absent or malformed."""
        value = entry.get(name)
        if value is None and not is_required:
            return None
        if isinstance(value, str) and NAME.match(value):
            return value
        self.fault(f"{pointer}/{name}", "bad_name", "write 1 to 64 letters, digits, _ . : -")
        return None

    def text(self, entry: Mapping[str, Any], name: str, pointer: str) -> str:
        """Return a text for people."""
        value = entry.get(name, "")
        if isinstance(value, str) and len(value) <= 500 and _is_storable(value):
            return value
        self.fault(f"{pointer}/{name}", "too_long", "write at most 500 characters")
        return ""

    def instant(self, entry: Mapping[str, Any], name: str, pointer: str) -> datetime | None:
        """Return an instant with its offset from UTC."""
        value = entry.get(name)
        if value is None:
            return None
        try:
            instant = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            instant = None
        if instant is None or instant.tzinfo is None:
            self.fault(f"{pointer}/{name}", "bad_instant", "write as 2026-11-23T10:00:00Z")
            return None
        return instant

    def pattern(self, value: object, pointer: str) -> None:
        """Tell of a regular expression that does not compile or is not safe."""
        try:
            compile_pattern(value if isinstance(value, str) else "(")
        except UnsafePattern as failure:
            self.fault(pointer, "unsafe_pattern", f"the pattern {failure}")

    def texts(
        self, told: object, pointer: str, *, most: int = VALUES_MAX, least: int = 1
    ) -> tuple[str, ...]:
        """Return a list of texts."""
        if (
            is_list_of_text(told)
            and least <= len(told) <= most
            and all(0 < len(value) <= 512 and _is_storable(value) for value in told)
        ):
            return tuple(told)
        self.fault(pointer, "bad_values", f"write a list of {least} to {most} texts")
        return ()

    def numbers(self, told: object, pointer: str) -> tuple[float, ...]:
        """Return a list of one number."""
        if (
            isinstance(told, list)
            and len(told) == 1
            and isinstance(told[0], int | float)
            and not isinstance(told[0], bool)
            and -NUMBER_MAX <= told[0] <= NUMBER_MAX
        ):
            return tuple(told)
        self.fault(pointer, "bad_values", "write a list of one number")
        return ()


def is_list_of_text(told: object) -> TypeGuard[list[str]]:
    """Test for a list of nothing but texts."""
    return isinstance(told, list) and all(isinstance(entry, str) for entry in told)


def _is_storable(text: str) -> bool:
    """PostgreSQL keeps neither NUL nor a lone surrogate in jsonb, and no hash takes the latter."""
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)

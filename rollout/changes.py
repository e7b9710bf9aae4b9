"""What differs between two rule sets, as a JSON patch (RFC 6902). Pure."""

from collections.abc import Iterator
from typing import Any

Operation = dict[str, Any]


def changes_between(old: Any, new: Any) -> list[Operation]:
    """
    Return the operations that turn one JSON value into another; empty when they are equal.

    Lists are compared by place, so that moving a rule shows as the rules that stand elsewhere now.
    """
    return list(_changes(old, new, ""))


def _changes(old: Any, new: Any, pointer: str) -> Iterator[Operation]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _changes_of_object(old, new, pointer)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _changes_of_list(old, new, pointer)
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        yield {"op": "replace", "path": pointer, "value": new}


def _changes_of_object(
    old: dict[str, Any], new: dict[str, Any], pointer: str
) -> Iterator[Operation]:
    for name in sorted(old.keys() | new.keys()):
        place = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        if name not in new:
            yield {"op": "remove", "path": place}
        elif name not in old:
            yield {"op": "add", "path": place, "value": new[name]}
        else:
            yield from _changes(old[name], new[name], place)


def _changes_of_list(old: list[Any], new: list[Any], pointer: str) -> Iterator[Operation]:
    for index, (before, after) in enumerate(zip(old, new, strict=False)):
        yield from _changes(before, after, f"{pointer}/{index}")
    # From the end, so that no removal moves what a later one names.
    for index in range(len(old) - 1, len(new) - 1, -1):
        yield {"op": "remove", "path": f"{pointer}/{index}"}
    for value in new[len(old) :]:
        yield {"op": "add", "path": f"{pointer}/-", "value": value}

"""Rule sets as files: read strictly, written whole, followed as they change."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rollout.document import EMPTY_DOCUMENT

# The order in which people read; jsonb keeps none.
_FIRST = {name: place for place, name in enumerate((*EMPTY_DOCUMENT, "id", "path", "kind", "name"))}


class UnreadableFile(Exception):
    """A file that is no JSON, or not there."""


def read_rules(path: Path) -> Any:
    """
    Return the JSON value in a file, - for standard input.

    Raises UnreadableFile with the place of the fault.
    """
    if str(path) == "-":
        return parse_rules(sys.stdin.buffer.read(), name="-")
    try:
        return parse_rules(path.read_bytes(), name=str(path))
    except OSError as failure:
        raise UnreadableFile(f"{path}: {failure.strerror or failure}") from failure


def parse_rules(content: bytes, *, name: str) -> Any:
    """
    Return a JSON value; raises UnreadableFile.

    Refuses a member named twice and what only Python takes for a number: either would be read as
    something else elsewhere.
    """
    try:
        value = json.loads(
            content.decode(), object_pairs_hook=_members, parse_constant=_refuse_constant
        )
        # Half of a surrogate pair can be escaped in JSON, and be written nowhere.
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as failure:
        place = f"{name}:{failure.lineno}:{failure.colno}"
        raise UnreadableFile(f"{place}: {failure.msg}") from failure
    except (ValueError, RecursionError) as failure:
        raise UnreadableFile(f"{name}: {failure}") from failure
    return value


def written(document: Mapping[str, Any]) -> str:
    """Return a rule set as people and diffs read it; the same rules give the same text."""
    return json.dumps(_in_order(document), indent=2, ensure_ascii=False) + "\n"


def write_whole(path: Path, text: str) -> None:
    """Replace a file in one step: whoever reads it sees the old text or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as failure:
        draft.unlink(missing_ok=True)
        raise UnreadableFile(f"{path}: {failure.strerror or failure}") from failure


def versions_of(
    path: Path, *, poll_s: float, sleep: Callable[[float], object] = time.sleep
) -> Iterator[bytes]:
    """
    Yield a file's content, and again whenever it became another and stood still for one poll.

    Content is compared, not times or inodes, so that a file written in place, one that is renamed
    over it and a link that is switched are all noticed. A file that is not there is waited for.
    """
    told: bytes | None = None
    before: bytes | None = None
    while True:
        content = _content_of(path)
        if content is not None and content != told and (told is None or content == before):
            told = content
            yield content
        before = content
        sleep(poll_s)


def _content_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None  # Between the removal and the arrival of its successor.


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"a member is named twice: {twice!a}")
    return members


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _in_order(told: Any) -> Any:
    if isinstance(told, Mapping):
        names = sorted(told, key=lambda name: (_FIRST.get(name, len(_FIRST)), name))
        return {name: _in_order(told[name]) for name in names}
    if isinstance(told, list | tuple):
        return [_in_order(value) for value in told]
    return told

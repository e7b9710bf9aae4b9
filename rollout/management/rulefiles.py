"""Rule sets as files: read strictly, written whole, followed as they change."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rollout import drafting


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
    """Return a JSON value, read as drafts are; raises UnreadableFile that says where."""
    try:
        return drafting.parse(content.decode())
    except UnicodeDecodeError as failure:
        raise UnreadableFile(f"{name}: {failure}") from failure
    except drafting.UnreadableDraft as failure:
        place = name if failure.line is None else f"{name}:{failure.line}:{failure.column}"
        raise UnreadableFile(f"{place}: {failure.why}") from failure


def written(document: Mapping[str, Any]) -> str:
    """Return a rule set as people and diffs read it; the same rules give the same text."""
    return drafting.written(document) + "\n"


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

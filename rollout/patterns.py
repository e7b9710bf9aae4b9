"""Text that comes from outside, read within bounds: regular expressions, User-Agents, versions."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as sre  # type: ignore[attr-defined]
from typing import Any

PATTERN_CHARS_MAX = 256
SUBJECT_CHARS_MAX = 512
# A pattern of two unbounded repeats may try 512 × 512 ways on the longest subject, some
# milliseconds. One more repeat makes it a second, a nested one makes it for ever.
WAYS_MAX = 600_000

_SINGLE = {op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN, op.CATEGORY, op.AT}


class UnsafePattern(ValueError):
    """A regular expression that a request header could keep busy, or that does not compile."""


def compile_pattern(text: str) -> re.Pattern[str]:
    """
    Return a pattern that is quick on every subject of at most 512 characters.

    It is matched from the start of the subject. Raises UnsafePattern, with the reason, for one
    that is too long, does not compile, looks around or back, or can backtrack in too many ways.
    """
    if len(text) > PATTERN_CHARS_MAX:
        raise UnsafePattern(f"longer than {PATTERN_CHARS_MAX} characters")
    try:
        ways = _ways(sre.parse(text))
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as failure:
        raise UnsafePattern(f"does not compile: {failure}") from failure
    if ways > WAYS_MAX:
        raise UnsafePattern(
            "can backtrack in too many ways: nest no repeats, use at most two unbounded ones,"
            r" and bound the others, as in \d{1,4}"
        )
    return pattern


def matches(pattern: re.Pattern[str], subject: str) -> bool:
    """Test whether the pattern matches the first 512 characters from their start."""
    return pattern.match(subject[:SUBJECT_CHARS_MAX]) is not None


def _ways(nodes: Sequence[tuple[Any, Any]]) -> int:
    """Return an upper bound for the ways in which a sequence can match, capped above WAYS_MAX."""
    ways = 1
    for opcode, argument in nodes:
        ways = min(ways * _ways_of_one(opcode, argument), WAYS_MAX + 1)
    return ways


def _ways_of_one(opcode: Any, argument: Any) -> int:
    if opcode in _SINGLE:
        return 1
    if opcode is op.SUBPATTERN:
        return _ways(argument[-1])
    if opcode is op.BRANCH:
        return sum(_ways(branch) for branch in argument[1])
    if opcode in (op.MAX_REPEAT, op.MIN_REPEAT):
        at_least, at_most, inner = argument
        return _ways_of_repeat(at_least, min(int(at_most), SUBJECT_CHARS_MAX), _ways(inner))
    raise UnsafePattern(f"uses {str(opcode).lower()}, which is not offered here")


def _ways_of_repeat(at_least: int, at_most: int, inner: int) -> int:
    if inner == 1:
        return max(at_most - at_least + 1, 1)
    total = 0
    for times in range(at_least, at_most + 1):
        total += inner**times if times * inner.bit_length() < 64 else WAYS_MAX + 1
        if total > WAYS_MAX:
            break
    return total


Version = tuple[int, ...]

# The order matters: Edge and Opera also call themselves Chrome, and Chrome also Safari.
_BROWSERS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (family, re.compile(pattern))
    for family, pattern in (
        ("edge", r"\bEdg(?:e|A|iOS)?/([\d.]{1,24})"),
        ("opera", r"\b(?:OPR|Opera)/([\d.]{1,24})"),
        ("samsung", r"\bSamsungBrowser/([\d.]{1,24})"),
        ("firefox", r"\b(?:Firefox|FxiOS)/([\d.]{1,24})"),
        ("chrome", r"\b(?:Chrome|CriOS)/([\d.]{1,24})"),
        ("safari", r"\bVersion/([\d.]{1,24}) (?:Mobile/\w{1,16} )?Safari/"),
    )
)
_PRODUCT = re.compile(r"\s*([A-Za-z0-9][\w.+-]{0,63})(?:/v?(\d[\d.]{0,23}))?")
_VERSION = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,3}\Z")
_COMPARATOR = re.compile(r"(>=|<=|>|<|=)?\s*(\d{1,9}(?:\.\d{1,9}){0,3})\Z")


@lru_cache(maxsize=1024)
def parse_user_agent(text: str) -> tuple[str, Version]:
    """
    Return family and version of a User-Agent; ("", ()) for one that says nothing.

    Browsers are edge, opera, samsung, firefox, chrome, safari; any other client is its first
    product in small letters: "acme-shop/2.3 (linux)" is ("acme-shop", (2, 3)).
    """
    text = text[:SUBJECT_CHARS_MAX]
    if text.startswith("Mozilla/"):
        for family, pattern in _BROWSERS:
            if found := pattern.search(text):
                return family, _read_version(found[1])
    if found := _PRODUCT.match(text):
        return found[1].lower(), _read_version(found[2] or "")
    return "", ()


def _read_version(text: str) -> Version:
    return tuple(int(part[:9]) for part in text.split(".")[:4] if part)


def compile_version_range(text: str) -> Callable[[Version], bool]:
    """
    Return a test for a range such as ">=2.3, <3" or "115".

    All parts must hold. A missing part of a version is 0, but a bare or "=" number stands for
    all that begin so: "115" takes 115.0.2. No version is in no range. Raises ValueError.
    """
    comparisons = tuple(_comparison(part.strip()) for part in text.split(","))
    return lambda version: bool(version) and all(holds(version) for holds in comparisons)


def _comparison(text: str) -> Callable[[Version], bool]:
    found = _COMPARATOR.match(text)
    if not found:
        raise ValueError(f"{text!r} is not a comparison such as >=2.3")
    sign, bound = found[1] or "=", tuple(int(part) for part in found[2].split("."))
    full = _padded(bound)
    if sign == ">=":
        return lambda version: _padded(version) >= full
    if sign == ">":
        return lambda version: _padded(version) > full
    if sign == "<=":
        return lambda version: _padded(version) <= full
    if sign == "<":
        return lambda version: _padded(version) < full
    return lambda version: version[: len(bound)] == bound


def _padded(version: Version) -> Version:
    return (*version, 0, 0, 0, 0)[:4]

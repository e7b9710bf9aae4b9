"""Clauses compiled to tests: closures, because a rule set of twenty is asked on every call."""

import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol

from rollout.patterns import Version, compile_pattern, compile_version_range, matches
from rollout.rules import Clause, Segment

# Above this a frozenset of texts costs more memory than a worker should give to one segment.
FROZENSET_IDS_MAX = 50_000


class Context(Protocol):
    """What a decision may look at. Everything is lazy: what no rule asks for is not computed."""

    @property
    def meta(self) -> Mapping[str, Any]:
        """Return headers and QUERY_STRING as in WSGI: HTTP_X_DEPLOY_VERSION."""

    @property
    def query(self) -> Mapping[str, Any]:
        """Return the query parameters."""

    @property
    def method(self) -> str:
        """Return the HTTP method, or ""."""

    @property
    def url_path(self) -> str:
        """Return the path of the URL, or ""."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Return what the call or the program says about itself."""

    def identity(self, name: str) -> str | None:
        """Return who calls: user, account, api_key, anonymous, idempotency_key, …"""

    def client(self) -> tuple[str, Version]:
        """Return family and version of the User-Agent."""

    def has_trust(self, trust: str) -> bool:
        """Test whether the caller reaches a rule's trust."""

    def read_override(self, text: str) -> str | None:
        """Return the version or role that a trusted caller asks for; None when not trusted."""

    def deny(self, source: str) -> None:
        """Take note that an override was not trusted."""


Test = Callable[[Context], bool]


def text_of(value: object) -> str:
    """Return the one text form of an attribute: true, false, digits, small-letter UUIDs."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    return str(value)


def meta_key(header: str) -> str:
    """Return a header's key in WSGI's environment."""
    key = header.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


def compile_clause(clause: Clause, segments: Mapping[str, Test]) -> Test:
    """Return the test of one clause."""
    test = _COMPILERS[clause.kind](clause.options, segments)
    if clause.negated:
        return lambda context: not test(context)
    return test


def _header(options: Mapping[str, Any], _: Mapping[str, Test]) -> Test:
    key = meta_key(options["name"])
    if options["op"] == "exact":
        values = frozenset(options["values"])
        return lambda context: context.meta.get(key) in values
    if options["op"] == "exists":
        return lambda context: key in context.meta
    compare = _comparer(options)
    return lambda context: compare(context.meta.get(key))


def _query(options: Mapping[str, Any], _: Mapping[str, Test]) -> Test:
    name = options["name"]
    compare = _comparer(options)
    # Parsing costs more than everything else here; most requests have no query at all.
    return lambda context: compare(
        context.query.get(name) if context.meta.get("QUERY_STRING") else None
    )


def _attr(options: Mapping[str, Any], _: Mapping[str, Test]) -> Test:
    name = options["name"]
    if options["op"] in ("at_least", "at_most"):
        return _number_test(name, options["op"], options["values"][0])
    compare = _comparer(options)

    def test(context: Context) -> bool:
        value = context.attributes.get(name)
        return compare(None if value is None else text_of(value))

    return test


def _number_test(name: str, operator: str, bound: float) -> Test:
    def test(context: Context) -> bool:
        value = context.attributes.get(name)
        if not isinstance(value, int | float):
            return False
        return value >= bound if operator == "at_least" else value <= bound

    return test


def _comparer(options: Mapping[str, Any]) -> Callable[[str | None], bool]:
    operator, values = options["op"], options.get("values", ())
    if operator == "exists":
        return lambda value: value is not None
    if operator == "exact":
        exact = frozenset(values)
        return lambda value: value in exact
    if operator == "prefix":
        return lambda value: value is not None and value.startswith(values)
    if operator == "suffix":
        return lambda value: value is not None and value.endswith(values)
    if operator == "contains":
        return lambda value: value is not None and any(part in value for part in values)
    patterns: tuple[re.Pattern[str], ...] = tuple(compile_pattern(value) for value in values)
    return lambda value: value is not None and any(matches(each, value) for each in patterns)


def _identity(name: str) -> Callable[[Mapping[str, Any], Mapping[str, Test]], Test]:
    def compiler(options: Mapping[str, Any], _: Mapping[str, Test]) -> Test:
        values = frozenset(options["values"])
        return lambda context: context.identity(name) in values

    return compiler


def _segment(options: Mapping[str, Any], segments: Mapping[str, Test]) -> Test:
    tests = tuple(segments[name] for name in options["values"])
    if len(tests) == 1:
        return tests[0]
    return lambda context: any(test(context) for test in tests)


def _user_agent(options: Mapping[str, Any], _: Mapping[str, Test]) -> Test:
    if "regex" in options:
        pattern = compile_pattern(options["regex"])
        return lambda context: matches(pattern, context.meta.get("HTTP_USER_AGENT", ""))
    family = options["family"]
    if options.get("versions") is None:
        return lambda context: context.client()[0] == family
    is_in_range = compile_version_range(options["versions"])

    def test(context: Context) -> bool:
        found, version = context.client()
        return found == family and is_in_range(version)

    return test


def _method(options: Mapping[str, Any], _: Mapping[str, Test]) -> Test:
    values = frozenset(options["values"])
    return lambda context: context.method in values


def _path_prefix(options: Mapping[str, Any], _: Mapping[str, Test]) -> Test:
    values = tuple(options["values"])
    return lambda context: context.url_path.startswith(values)


_COMPILERS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Test]], Test]] = {
    "header": _header,
    "query": _query,
    "attr": _attr,
    "user": _identity("user"),
    "account": _identity("account"),
    "segment": _segment,
    "user_agent": _user_agent,
    "method": _method,
    "path_prefix": _path_prefix,
}


def compile_segment(segment: Segment) -> Test:
    """Return the test of a segment's members."""
    name = segment.identity
    if segment.match:
        tests = tuple(compile_clause(clause, {}) for clause in segment.match)
        return lambda context: all(test(context) for test in tests)
    if len(segment.ids) <= FROZENSET_IDS_MAX:
        ids = frozenset(segment.ids)
        return lambda context: context.identity(name) in ids
    hashed = HashedIds(segment.ids)
    return lambda context: context.identity(name) in hashed


class HashedIds:
    """A large set of texts in 8 bytes each: one false member in 10¹³ at a million ids."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._hashes = array("Q", sorted(_hash64(each) for each in ids))

    def __contains__(self, text: object) -> bool:
        if not isinstance(text, str):
            return False
        wanted = _hash64(text)
        at = bisect_left(self._hashes, wanted)
        return at < len(self._hashes) and self._hashes[at] == wanted


def _hash64(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8, person=b"rollout-ids").digest())

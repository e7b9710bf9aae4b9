"""A rule set as a JSON document: read with every fault named, and written back. Pure."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rollout.errors import InvalidRuleSet, UnknownSchema
from rollout.patterns import compile_version_range
from rollout.policies import BreakerPolicy, read_policy
from rollout.reading import NAME, Reading, is_list_of_text
from rollout.rules import (
    BUCKETS,
    PATH_KEY,
    ROLES,
    TRUSTS,
    VERSION_NAME,
    Clause,
    PathFacts,
    PathPolicy,
    Release,
    Rule,
    Segment,
    reads_what_anyone_can_send,
)

SCHEMA_VERSION = 1
RULES_MAX = 1_000
SEGMENT_IDS_MAX = 1_000_000
TEXT_OPS = ("exact", "prefix", "suffix", "contains", "regex", "exists")
NUMBER_OPS = ("at_least", "at_most")

EMPTY_DOCUMENT: Mapping[str, Any] = {
    "schema_version": SCHEMA_VERSION,
    "kill_switch": {"all": False, "paths": []},
    "releases": {},
    "rules": [],
    "segments": {},
    "breakers": {},
}

_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")
_STICKINESS = re.compile(r"[a-z][a-z0-9_]{0,31}(?:\+[a-z][a-z0-9_]{0,31}){0,3}\Z")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True, slots=True)
class RuleSet:
    """A rule set that was read without fault."""

    is_killed: bool = False
    killed_paths: frozenset[str] = frozenset()
    paths: Mapping[str, PathPolicy] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    segments: Mapping[str, Segment] = field(default_factory=dict)
    breakers: Mapping[str, Mapping[str, BreakerPolicy]] = field(default_factory=dict)


def read_document(document: object, *, paths: Mapping[str, PathFacts] | None = None) -> RuleSet:
    """
    Return the rule set that a document describes.

    paths: what the running code declares; with it, unknown paths and versions are faults, and
    rules that hang on a header or query need a trust where the path writes. Without it (a worker
    that loads what newer code published) only the document itself is judged.
    Raises UnknownSchema, and InvalidRuleSet with every fault: pointer, code, message.
    """
    reader = _Reader(paths)
    if not isinstance(document, dict):
        reader.members(document, "")
        raise InvalidRuleSet(reader.faults)
    if document.get("schema_version") != SCHEMA_VERSION:
        raise UnknownSchema(document.get("schema_version"))
    rule_set = reader.read(document)
    if reader.faults:
        raise InvalidRuleSet(reader.faults)
    return rule_set


class _Reader(Reading):
    """One reading of one rule set."""

    def __init__(self, paths: Mapping[str, PathFacts] | None) -> None:
        super().__init__()
        self.paths = paths
        self.releases: dict[str, PathPolicy] = {}
        self.segment_names: frozenset[str] = frozenset()

    # --- The document -------------------------------------------------------------------------

    def read(self, document: Mapping[str, Any]) -> RuleSet:
        self.refuse_unknown(document, EMPTY_DOCUMENT, "")
        is_killed, killed = self._kill_switch(document.get("kill_switch", {}))
        releases = self.members(document.get("releases", {}), "/releases")
        self.releases = {
            path: self._release(path, told, f"/releases/{path}") for path, told in releases.items()
        }
        segments = self.members(document.get("segments", {}), "/segments")
        self.segment_names = frozenset(segments)
        return RuleSet(
            is_killed=is_killed,
            killed_paths=killed,
            paths=self.releases,
            segments={
                name: self._segment(name, told, f"/segments/{name}")
                for name, told in segments.items()
            },
            rules=self._rules(document.get("rules", [])),
            breakers=self._breakers(document.get("breakers", {})),
        )

    def _kill_switch(self, told: object) -> tuple[bool, frozenset[str]]:
        switch = self.members(told, "/kill_switch")
        self.refuse_unknown(switch, ("all", "paths"), "/kill_switch")
        is_killed = self.flag(switch, "all", "/kill_switch", default=False)
        killed = switch.get("paths", [])
        if not is_list_of_text(killed):
            self.fault("/kill_switch/paths", "not_a_list", "write a list of path keys")
            killed = []
        for index, path in enumerate(killed):
            self._known_path(path, f"/kill_switch/paths/{index}")
        return is_killed, frozenset(killed)

    def _release(self, path: str, told: object, pointer: str) -> PathPolicy:
        release = self.members(told, pointer)
        self.refuse_unknown(release, ("enabled", "rolled_back", *ROLES), pointer)
        self._known_path(path, pointer)
        roles: dict[str, str | None] = {}
        for role in ROLES:
            version = release.get(role)
            if version is not None or role == "stable":
                version = self._version(path, version, f"{pointer}/{role}")
            roles[role] = version
        for role in ("canary", "fallback"):
            if roles[role] is not None and roles[role] == roles["stable"]:
                self.fault(f"{pointer}/{role}", "same_as_stable", f"{role} is stable as well")
        if roles["canary"] is not None and roles["canary"] == roles["fallback"]:
            # A canary that is its own last resort would never be allowed to open.
            self.fault(f"{pointer}/canary", "same_as_fallback", "canary is the fallback as well")
        return PathPolicy(
            Release(roles["stable"] or "", roles["canary"], roles["fallback"]),
            is_enabled=self.flag(release, "enabled", pointer, default=True),
            is_rolled_back=self.flag(release, "rolled_back", pointer, default=False),
        )

    def _segment(self, name: str, told: object, pointer: str) -> Segment:
        segment = self.members(told, pointer)
        self.refuse_unknown(segment, ("identity", "ids", "match", "note"), pointer)
        if not NAME.match(name):
            self.fault(pointer, "bad_name", "a segment is named with letters, digits, _ . : -")
        if ("ids" in segment) == ("match" in segment):
            self.fault(pointer, "ids_or_match", "a segment has either ids or match")
            return Segment(name)
        identity = segment.get("identity", "account")
        if not isinstance(identity, str) or not _STICKINESS.match(identity) or "+" in identity:
            self.fault(f"{pointer}/identity", "bad_name", "write user, account, customer, …")
            identity = "account"
        ids = self.texts(segment.get("ids", []), f"{pointer}/ids", most=SEGMENT_IDS_MAX, least=0)
        match = self._clauses(segment.get("match", []), f"{pointer}/match", in_segment=True)
        return Segment(name, identity=identity, ids=ids, match=match)

    def _breakers(self, told: object) -> dict[str, dict[str, BreakerPolicy]]:
        breakers: dict[str, dict[str, BreakerPolicy]] = {}
        for path, policies in self.members(told, "/breakers").items():
            pointer = f"/breakers/{path}"
            self._known_path(path, pointer)
            breakers[path] = {}
            for name, policy in self.members(policies, pointer).items():
                if name not in ROLES:
                    self._version(path, name, f"{pointer}/{name}")
                breakers[path][name] = read_policy(
                    policy, pointer=f"{pointer}/{name}", fault=self.fault
                )
        return breakers

    # --- Rules --------------------------------------------------------------------------------

    def _rules(self, told: object) -> tuple[Rule, ...]:
        if not isinstance(told, list) or len(told) > RULES_MAX:
            self.fault("/rules", "not_a_list", f"write a list of at most {RULES_MAX} rules")
            return ()
        rules, seen = [], set()
        for index, entry in enumerate(told):
            rule = self._rule(entry, f"/rules/{index}")
            if rule.id in seen:
                self.fault(f"/rules/{index}/id", "duplicate_id", f"{rule.id} stands twice")
            seen.add(rule.id)
            rules.append(rule)
        return tuple(rules)

    def _rule(self, told: object, pointer: str) -> Rule:
        entry = self.members(told, pointer)
        self.refuse_unknown(entry, _RULE_MEMBERS, pointer)
        path = entry.get("path")
        path = path if isinstance(path, str) else ""
        self._known_path(path, f"{pointer}/path")
        rule = Rule(
            id=self.name(entry, "id", pointer) or "",
            path=path,
            serve=self._serve(path, entry.get("serve"), f"{pointer}/serve"),
            match=self._clauses(entry.get("match", []), f"{pointer}/match"),
            share_bp=self.whole(entry, "share_bp", pointer, default=BUCKETS, most=BUCKETS),
            salt=self.name(entry, "salt", pointer, is_required=False),
            stickiness=self._stickiness(entry.get("stickiness", []), f"{pointer}/stickiness"),
            priority=self.whole(entry, "priority", pointer, default=100, most=1_000_000),
            trust=self.choice(entry, "trust", pointer, default="any", choices=TRUSTS),
            is_enabled=self.flag(entry, "enabled", pointer, default=True),
            valid_from=self.instant(entry, "valid_from", pointer),
            valid_until=self.instant(entry, "valid_until", pointer),
            note=self.text(entry, "note", pointer),
            owner=self.text(entry, "owner", pointer),
        )
        # shadow and dual_write have their place here; a worker that knows only serve refuses them.
        self.choice(entry, "mode", pointer, default="serve", choices=("serve",))
        self._check_together(rule, pointer)
        return rule

    def _check_together(self, rule: Rule, pointer: str) -> None:
        if rule.valid_from and rule.valid_until and rule.valid_from >= rule.valid_until:
            self.fault(f"{pointer}/valid_until", "ends_before_start", "the rule is never valid")
        facts = (self.paths or {}).get(rule.path)
        if (
            facts is not None
            and facts.effects != "read"
            and rule.trust == "any"
            and reads_what_anyone_can_send(rule)
        ):
            self.fault(
                f"{pointer}/trust",
                "trust_required",
                f"{rule.path} writes: a rule on a header or query needs a trust other than any",
            )

    def _serve(self, path: str, told: object, pointer: str) -> str:
        if isinstance(told, str) and told in ROLES:
            policy = self.releases.get(path)
            release = policy.release if policy else self._release_in_code(path)
            if release is not None and release.version_of(told) is None:
                self.fault(pointer, "no_such_role", f"the release of {path} has no {told}")
            return told
        return self._version(path, told, pointer)

    def _release_in_code(self, path: str) -> Release | None:
        facts = (self.paths or {}).get(path)
        return facts.release if facts else None

    def _stickiness(self, told: object, pointer: str) -> tuple[str, ...]:
        if not is_list_of_text(told) or not all(_STICKINESS.match(name) for name in told):
            self.fault(pointer, "bad_stickiness", 'write identities, as ["account+customer"]')
            return ()
        return tuple(told)

    # --- Clauses ------------------------------------------------------------------------------

    def _clauses(
        self, told: object, pointer: str, *, in_segment: bool = False
    ) -> tuple[Clause, ...]:
        if not isinstance(told, list) or len(told) > 50:
            self.fault(pointer, "not_a_list", "write a list of at most 50 clauses")
            return ()
        clauses = (
            self._clause(entry, f"{pointer}/{index}", in_segment=in_segment)
            for index, entry in enumerate(told)
        )
        return tuple(clause for clause in clauses if clause is not None)

    def _clause(self, told: object, pointer: str, *, in_segment: bool) -> Clause | None:
        entry = self.members(told, pointer)
        kind = entry.get("kind")
        if (
            not isinstance(kind, str)
            or kind not in _CLAUSE_MEMBERS
            or (in_segment and kind == "segment")
        ):
            self.fault(f"{pointer}/kind", "unknown_clause", f"write one of {_KINDS}")
            return None
        self.refuse_unknown(entry, ("kind", "not", *_CLAUSE_MEMBERS[kind]), pointer)
        before = len(self.faults)
        options = _CLAUSE_READERS[kind](self, entry, pointer)
        negated = self.flag(entry, "not", pointer, default=False)
        return Clause(kind, options, negated) if len(self.faults) == before else None

    def _named_text(self, entry: Mapping[str, Any], pointer: str) -> dict[str, Any]:
        """Read header, query and attr clauses: a name, an operator and values."""
        name = entry.get("name")
        pattern = _HEADER if entry["kind"] == "header" else NAME
        if isinstance(name, str) and entry["kind"] == "header":
            name = name.lower()
        if not isinstance(name, str) or not pattern.match(name):
            self.fault(f"{pointer}/name", "bad_name", f"{name!r} cannot be a name")
        ops = TEXT_OPS if entry["kind"] != "attr" else TEXT_OPS + NUMBER_OPS
        operator = self.choice(entry, "op", pointer, default="exact", choices=ops)
        options = {"name": name, "op": operator}
        if operator == "exists":
            if "values" in entry:
                self.fault(f"{pointer}/values", "unknown_member", "exists compares with nothing")
            return options
        if operator in NUMBER_OPS:
            return options | {"values": self.numbers(entry.get("values"), f"{pointer}/values")}
        values = self.texts(entry.get("values"), f"{pointer}/values")
        if operator == "regex":
            for index, value in enumerate(values):
                self.pattern(value, f"{pointer}/values/{index}")
        return options | {"values": values}

    def _ids(self, entry: Mapping[str, Any], pointer: str) -> dict[str, Any]:
        return {"values": self.texts(entry.get("values"), f"{pointer}/values")}

    def _segments(self, entry: Mapping[str, Any], pointer: str) -> dict[str, Any]:
        names = self.texts(entry.get("values"), f"{pointer}/values")
        for index, name in enumerate(names):
            if name not in self.segment_names:
                self.fault(f"{pointer}/values/{index}", "unknown_segment", f"no segment {name!r}")
        return {"values": names}

    def _user_agent(self, entry: Mapping[str, Any], pointer: str) -> dict[str, Any]:
        if "regex" in entry:
            if "family" in entry or "versions" in entry:
                self.fault(pointer, "regex_or_family", "write either regex or family")
            self.pattern(entry["regex"], f"{pointer}/regex")
            return {"regex": entry["regex"]}
        family = entry.get("family")
        if not isinstance(family, str) or not family or family != family.lower():
            self.fault(f"{pointer}/family", "bad_name", "write a family in small letters")
        versions = entry.get("versions")
        if versions is not None:
            try:
                compile_version_range(versions if isinstance(versions, str) else "")
            except ValueError as failure:
                self.fault(f"{pointer}/versions", "bad_version_range", str(failure))
        return {"family": family, "versions": versions}

    def _methods(self, entry: Mapping[str, Any], pointer: str) -> dict[str, Any]:
        values = self.texts(entry.get("values"), f"{pointer}/values")
        for index, value in enumerate(values):
            if value not in _METHODS:
                self.fault(f"{pointer}/values/{index}", "unknown_method", f"{value!r}")
        return {"values": values}

    def _path_prefixes(self, entry: Mapping[str, Any], pointer: str) -> dict[str, Any]:
        values = self.texts(entry.get("values"), f"{pointer}/values")
        for index, value in enumerate(values):
            if not value.startswith("/"):
                self.fault(f"{pointer}/values/{index}", "bad_prefix", "a path begins with /")
        return {"values": values}

    # --- What the code has ---

    def _known_path(self, path: object, pointer: str) -> None:
        if not isinstance(path, str) or not PATH_KEY.match(path):
            self.fault(pointer, "bad_path", "a code path is named as in orders.place")
        elif self.paths is not None and path not in self.paths:
            self.fault(pointer, "unknown_path", f"no code path is called {path!r}")

    def _version(self, path: str, told: object, pointer: str) -> str:
        if not isinstance(told, str) or not VERSION_NAME.match(told):
            self.fault(pointer, "bad_version", "write a version's name, as v2")
            return ""
        facts = (self.paths or {}).get(path)
        if facts is not None and told not in facts.versions:
            self.fault(
                pointer, "unknown_version", f"{path} has {', '.join(facts.versions)}, not {told}"
            )
        return told


_RULE_MEMBERS = (
    "id",
    "path",
    "enabled",
    "priority",
    "note",
    "owner",
    "valid_from",
    "valid_until",
    "match",
    "share_bp",
    "salt",
    "stickiness",
    "serve",
    "mode",
    "trust",
)
_NAMED = ("name", "op", "values")
_CLAUSE_MEMBERS: Mapping[str, tuple[str, ...]] = {
    "header": _NAMED,
    "query": _NAMED,
    "attr": _NAMED,
    "user": ("values",),
    "account": ("values",),
    "segment": ("values",),
    "user_agent": ("family", "versions", "regex"),
    "method": ("values",),
    "path_prefix": ("values",),
}
_KINDS = ", ".join(_CLAUSE_MEMBERS)
_ClauseReader = Callable[[_Reader, Mapping[str, Any], str], dict[str, Any]]
_CLAUSE_READERS: Mapping[str, _ClauseReader] = {
    "header": _Reader._named_text,
    "query": _Reader._named_text,
    "attr": _Reader._named_text,
    "user": _Reader._ids,
    "account": _Reader._ids,
    "segment": _Reader._segments,
    "user_agent": _Reader._user_agent,
    "method": _Reader._methods,
    "path_prefix": _Reader._path_prefixes,
}


def canonical(document: Mapping[str, Any]) -> str:
    """
    Return the one text of a document: members sorted, no blanks, whole numbers without a point.

    The same before and after a stay in jsonb, so a checksum of it holds everywhere.
    """
    return json.dumps(_normal(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def checksum_of(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document's one text, in hex."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()


def _normal(told: Any) -> Any:
    if isinstance(told, Mapping):
        return {name: _normal(value) for name, value in told.items()}
    if isinstance(told, list | tuple):
        return [_normal(value) for value in told]
    if isinstance(told, float) and told.is_integer():
        return int(told)
    return told

"""A rule set as people edit it: as text, as rows of a form, beside what others published. Pure."""

import copy
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollout.document import EMPTY_DOCUMENT, NUMBER_OPS

# A list longer than this is edited in the document, or by whatever made it.
VALUES_IN_FORM_MAX = 100
# Comparing lines is quadratic at its worst, and nobody reads more of them.
LINES_MAX = 5_000
CONTEXT_LINES = 3

Document = Mapping[str, Any]
Row = Mapping[str, Any]

_NAMED = ("header", "query", "attr")
# The order in which people read; jsonb keeps none.
_FIRST = {
    name: place
    for place, name in enumerate((*EMPTY_DOCUMENT, "id", "path", "serve", "kind", "not", "name"))
}
_ABSENT: Any = ...  # Of an object of our own, deepcopy would make another one.


class UnreadableDraft(Exception):
    """A text that is no JSON. line and column: where that shows, None when it shows nowhere."""

    def __init__(self, why: str, *, line: int | None = None, column: int | None = None) -> None:
        super().__init__(why if line is None else f"line {line}, column {column}: {why}")
        self.why = why
        self.line = line
        self.column = column


# --- As text ----------------------------------------------------------------------------------


def parse(text: str) -> Any:
    """
    Return the JSON value of a text; raises UnreadableDraft.

    A member named twice, and what only Python takes for a number, would be read as something else
    elsewhere: both are refused.
    """
    try:
        value = json.loads(text, object_pairs_hook=_members, parse_constant=_refuse_constant)
        # Half of a surrogate pair can be escaped in JSON, and be written nowhere.
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as failure:
        where = {"line": failure.lineno, "column": failure.colno}
        raise UnreadableDraft(failure.msg, **where) from failure
    except (ValueError, RecursionError) as failure:
        raise UnreadableDraft(str(failure)) from failure
    return value


def written(document: Any) -> str:
    """Return a rule set as people read it; the same rules give the same text."""
    return json.dumps(_in_order(document), indent=2, ensure_ascii=False)


def line_of(document: Any, pointer: str) -> int:
    """
    Return the line on which a pointer's value begins in what `written` makes of a document.

    Of a member that is not there: the line of what it is missing from.
    """
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    marked = json.dumps(_with_mark(_in_order(document), steps), indent=2)
    return marked.partition(f'"{_MARK}"')[0].count("\n") + 1


_MARK = "here, and nowhere else"


def _with_mark(value: Any, steps: Sequence[str]) -> Any:
    if steps:
        step, below = steps[0], steps[1:]
        if isinstance(value, dict) and step in value:
            return {**value, step: _with_mark(value[step], below)}
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            place = int(step)
            return [*value[:place], _with_mark(value[place], below), *value[place + 1 :]]
    return _MARK


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"a member is named twice: {twice!a}")
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _in_order(value: Any) -> Any:
    if isinstance(value, Mapping):
        names = sorted(value, key=lambda name: (_FIRST.get(name, len(_FIRST)), name))
        return {name: _in_order(value[name]) for name in names}
    if isinstance(value, list | tuple):
        return [_in_order(entry) for entry in value]
    return value


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a comparison. kind: added, removed, same, or gap (lines were left out)."""

    kind: str
    text: str


def compared(old: Document, new: Document) -> list[Line] | None:
    """
    Return what differs, line by line, with a few lines around; empty: nothing does.

    None when one of them is too long to be compared this way: see changes_between.
    """
    before, after = written(old).splitlines(), written(new).splitlines()
    if max(len(before), len(after)) > LINES_MAX:
        return None
    lines = list(difflib.unified_diff(before, after, n=CONTEXT_LINES, lineterm=""))
    return [_line(text) for text in lines[2:]]  # The first two would name files.


def _line(text: str) -> Line:
    if text.startswith("@@"):
        return Line("gap", "")
    return Line({"+": "added", "-": "removed"}.get(text[0], "same"), text[1:])


# --- As rows of a form ------------------------------------------------------------------------


def row_of(clause: Any) -> Row | None:
    """
    Return a clause as a row: kind, negated, name, op, values (a line each).

    None for what no row can hold: a clause that is malformed or has many values.
    """
    if not isinstance(clause, Mapping) or not isinstance(clause.get("kind"), str):
        return None
    row = {
        "kind": clause["kind"],
        "negated": clause.get("not") is True,
        "name": "",
        "op": "",
        "values": "",
    }
    if clause["kind"] == "user_agent":
        if "regex" in clause:
            return {**row, "op": "regex", "values": str(clause["regex"])}
        return {
            **row,
            "name": str(clause.get("family", "")),
            "values": str(clause.get("versions") or ""),
        }
    values = clause.get("values", [])
    if not isinstance(values, list) or len(values) > VALUES_IN_FORM_MAX:
        return None
    if any("\n" in str(value) for value in values):
        return None
    if clause["kind"] in _NAMED:
        row["name"] = str(clause.get("name", ""))
        row["op"] = str(clause.get("op", "exact"))
    return {**row, "values": "\n".join(str(value) for value in values)}


def clause_of(row: Row) -> dict[str, Any]:
    """Return the clause that a row describes, faults and all: the reader of rules names them."""
    clause: dict[str, Any] = {"kind": row["kind"]}
    if row["negated"]:
        clause["not"] = True
    values = [line.strip() for line in row["values"].splitlines() if line.strip()]
    if row["kind"] == "user_agent":
        return clause | _user_agent(row, values)
    if row["kind"] in _NAMED:
        clause |= {"name": row["name"].strip(), "op": row["op"] or "exact"}
        if clause["op"] == "exists" and not values:
            return clause
        if clause["op"] in NUMBER_OPS:
            return clause | {"values": [_number(value) for value in values]}
    return clause | {"values": values}


def _user_agent(row: Row, values: Sequence[str]) -> dict[str, Any]:
    text = "\n".join(values)
    if row["op"] == "regex":
        return {"regex": text}
    family = {"family": row["name"].strip()}
    return family | ({"versions": text} if text else {})


def _number(text: str) -> Any:
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return text


def rules_of(document: Any) -> list[tuple[int, dict[str, Any]]]:
    """Return the rules that a form can show, each with its place in the document."""
    rules = document.get("rules") if isinstance(document, Mapping) else None
    if not isinstance(rules, list):
        return []
    return [
        (place, rule)
        for place, rule in enumerate(rules)
        if isinstance(rule, dict)
        and isinstance(rule.get("id"), str)
        and isinstance(rule.get("path"), str)
        and isinstance(rule.get("match", []), list)
    ]


def change_rule(
    document: Any,
    rule_id: str,
    *,
    members: Mapping[str, Any],
    clauses: Mapping[int, Row | None],
    added: Sequence[Row],
    seen_match: object,
) -> str | None:
    """
    Change a rule in place: members, clauses by their place (None removes one), added clauses.

    A member that is None goes. Return why nothing was changed, None when all was: the document may
    have been edited by hand since the form showed the rule.
    """
    rule = next((rule for _, rule in rules_of(document) if rule["id"] == rule_id), None)
    if rule is None:
        return f"there is no rule {rule_id} in the document any more"
    if clauses and rule.get("match", []) != seen_match:
        return f"the clauses of {rule_id} were changed in the document as well"
    for name, value in members.items():
        if value is None:
            rule.pop(name, None)
        else:
            rule[name] = value
    match = [
        clause if place not in clauses else _changed(clauses[place])
        for place, clause in enumerate(rule.get("match", []))
    ]
    match += [clause_of(row) for row in added]
    if clauses or added:
        rule["match"] = [clause for clause in match if clause is not None]
    return None


def _changed(row: Row | None) -> dict[str, Any] | None:
    return None if row is None else clause_of(row)


# --- Beside what others published -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Merged:
    """A draft brought on top of what is in force now. conflicts: pointers where both changed."""

    document: Any
    conflicts: Sequence[str]


def merge(base: Document, mine: Document, theirs: Document) -> Merged:
    """
    Bring a draft that began at base on top of what was published since.

    What only one side changed is taken from it. Where both changed, mine stays and is named.
    Rules are matched by their id, whatever their place.
    """
    conflicts: list[str] = []
    return Merged(_merge(base, mine, theirs, "", conflicts), tuple(conflicts))


def _merge(base: Any, mine: Any, theirs: Any, pointer: str, conflicts: list[str]) -> Any:
    if theirs in (mine, base):
        return copy.deepcopy(mine)
    if mine == base:
        return copy.deepcopy(theirs)
    if isinstance(mine, dict) and isinstance(theirs, dict):
        before = base if isinstance(base, dict) else {}
        return dict(_merge_members(before, mine, theirs, pointer, conflicts))
    if pointer == "/rules" and (by_id := _by_id(base, mine, theirs)) is not None:
        was, ours, others = by_id
        return [rule for _, rule in _merge_members(was, ours, others, pointer, conflicts)]
    conflicts.append(pointer)
    return copy.deepcopy(mine)


def _merge_members(
    base: Mapping[str, Any],
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any],
    pointer: str,
    conflicts: list[str],
) -> Iterator[tuple[str, Any]]:
    for name in (*mine, *(name for name in theirs if name not in mine)):
        was, ours, other = (side.get(name, _ABSENT) for side in (base, mine, theirs))
        value = _merge(was, ours, other, f"{pointer}/{name}", conflicts)
        if value is not _ABSENT:
            yield name, value


def _by_id(*sides: Any) -> list[dict[str, Any]] | None:
    """Return each side's rules by id; None when one of them is no list of such rules."""
    found = []
    for side in sides:
        rules = [] if side is _ABSENT else side
        by_id = {rule["id"]: rule for _, rule in rules_of({"rules": rules})}
        if not isinstance(rules, list) or len(by_id) != len(rules):
            return None
        found.append(by_id)
    return found

"""Forms over a draft: what people change daily, each written back into the document."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django import forms

from rollout import drafting
from rollout.admin.forms import COMMENT_MAX, Lines
from rollout.document import NUMBER_OPS, TEXT_OPS
from rollout.rules import BUCKETS, ROLES, TRUSTS, PathFacts

# Django refuses a POST of more than DATA_UPLOAD_MAX_NUMBER_FIELDS, by default 1,000, fields.
FIELDS_MAX = 800
KINDS = (
    *("account", "user", "segment", "header", "query"),
    *("attr", "user_agent", "method", "path_prefix"),
)


def _choices(names: Sequence[str], present: object) -> list[tuple[str, str]]:
    """Offer what there is, and what the document says even when there is no such thing."""
    known = [(name, name.replace("_", " ")) for name in names]
    if isinstance(present, str) and present and present not in names:
        known.append((present, f"{present} (unknown)"))
    return known


class ReleaseForm(forms.Form):
    """Which version plays which role on a path."""

    stable = forms.ChoiceField()
    canary = forms.ChoiceField(required=False)
    fallback = forms.ChoiceField(required=False)
    enabled = forms.BooleanField(required=False, label="Rules decide")

    def __init__(self, *args: Any, facts: PathFacts, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for role in ROLES:
            known = _choices(facts.versions, self.initial.get(role))
            nobody = [] if role == "stable" else [("", "–")]
            self.fields[role].choices = [*nobody, *known]  # type: ignore[attr-defined]


class RuleForm(forms.Form):
    """One rule, without its clauses."""

    id = forms.CharField(max_length=64, required=False)
    serve = forms.ChoiceField(label="Serves")
    share_bp = forms.IntegerField(
        label="Share",
        min_value=0,
        max_value=BUCKETS,
        widget=forms.NumberInput(attrs={"data-share": "", "step": 1}),
    )
    enabled = forms.BooleanField(required=False)
    priority = forms.IntegerField(min_value=0, max_value=1_000_000)
    trust = forms.ChoiceField()
    note = forms.CharField(max_length=COMMENT_MAX, required=False)
    remove = forms.BooleanField(required=False)

    def __init__(
        self, *args: Any, facts: PathFacts | None, rule: Mapping[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        versions = facts.versions if facts else ()
        self.fields["serve"].choices = _choices((*ROLES, *versions), rule.get("serve"))  # type: ignore[attr-defined]
        self.fields["trust"].choices = _choices(TRUSTS, rule.get("trust"))  # type: ignore[attr-defined]
        if rule:
            del self.fields["id"]
        else:
            del self.fields["remove"]

    def clean(self) -> dict[str, Any]:
        """Ask for the name of a new rule."""
        told = super().clean() or self.cleaned_data
        if "id" in self.fields and self.has_changed() and not told.get("id"):
            self.add_error("id", "Name the rule: its name is in every answer it decides.")
        return told

    def members(self) -> dict[str, Any]:
        """Return what was changed, as members of the rule; None: the member goes."""
        told = {name: self.cleaned_data[name] for name in self.changed_data}
        told.pop("remove", None)
        return {name: None if value == "" else value for name, value in told.items()}


class ClauseForm(forms.Form):
    """One condition of a rule."""

    kind = forms.ChoiceField(required=False)
    negated = forms.BooleanField(required=False, label="Not")
    name = forms.CharField(required=False, max_length=64)
    op = forms.ChoiceField(
        required=False,
        choices=[("", "–"), *((op, op.replace("_", " ")) for op in TEXT_OPS + NUMBER_OPS)],
    )
    values = Lines(required=False)
    remove = forms.BooleanField(required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["kind"].choices = [  # type: ignore[attr-defined]
            ("", "–"),
            *_choices(KINDS, self.initial.get("kind")),
        ]

    def clean(self) -> dict[str, Any]:
        """Ask for the kind of a condition that says anything else."""
        told = super().clean() or self.cleaned_data
        if self.has_changed() and not told.get("kind") and not told.get("remove"):
            self.add_error("kind", "What is looked at?")
        return told


class RuleEditor:
    """The forms of one rule of the document, or of a new one."""

    def __init__(
        self,
        rule: Mapping[str, Any],
        facts: PathFacts | None,
        *,
        place: int | None,
        prefix: str,
        data: Any,
    ) -> None:
        self.rule, self.place, self.prefix = rule, place, prefix
        self.form = RuleForm(data, prefix=prefix, facts=facts, rule=rule, initial=_initial_of(rule))
        rows = [drafting.row_of(clause) for clause in rule.get("match", [])]
        self.clauses = {
            at: ClauseForm(data, prefix=f"{prefix}-clause{at}", initial=dict(row))
            for at, row in enumerate(rows)
            if row is not None
        }
        self.hidden_clauses = len(rows) - len(self.clauses)
        self.new_clause = ClauseForm(data, prefix=f"{prefix}-clause-new", initial={})
        self.faults: list[Any] = []

    @property
    def forms(self) -> Iterator[forms.Form]:
        """Return all forms."""
        yield self.form
        yield from self.clauses.values()
        yield self.new_clause

    @property
    def fields_count(self) -> int:
        """Return how many fields a browser may send."""
        return sum(len(form.fields) for form in self.forms)

    @property
    def is_new(self) -> bool:
        """Test for a rule that is not in the document yet."""
        return self.place is None

    @property
    def is_open(self) -> bool:
        """Test whether to show it at once: a new rule only after somebody began it."""
        return not self.is_new or (self.form.is_bound and self.form.has_changed())

    @property
    def rest(self) -> dict[str, Any]:
        """Return the members that only the document shows."""
        shown = {*RuleForm.base_fields, "path", "match"}
        return {name: value for name, value in self.rule.items() if name not in shown}

    def apply(self, document: dict[str, Any]) -> str | None:
        """Write what was changed; return why it could not be."""
        added = [self.new_clause.cleaned_data] if self.new_clause.has_changed() else []
        changed = {
            at: None if form.cleaned_data["remove"] else form.cleaned_data
            for at, form in self.clauses.items()
            if form.has_changed()
        }
        members = self.form.members()
        if self.is_new:
            return self._add(document, added) if self.form.has_changed() or added else None
        if self.form.cleaned_data["remove"]:
            document["rules"] = [
                rule
                for rule in document["rules"]
                if not (isinstance(rule, dict) and rule.get("id") == self.rule["id"])
            ]
            return None
        if not (members or changed or added):
            return None
        return drafting.change_rule(
            document,
            self.rule["id"],
            members=members,
            clauses=changed,
            added=added,
            seen_match=self.rule.get("match", []),
        )

    def _add(self, document: dict[str, Any], added: Sequence[Mapping[str, Any]]) -> str | None:
        told = self.form.cleaned_data
        rules = document.setdefault("rules", [])
        if not isinstance(rules, list):
            return "the document has no list of rules"
        rule = {name: told[name] for name in self.form.fields if told[name] != ""}
        match = [drafting.clause_of(row) for row in added]
        rules.append({**rule, "path": self.rule_path, "match": match})
        return None

    rule_path = ""


def _initial_of(rule: Mapping[str, Any]) -> dict[str, Any]:
    if not rule:  # Nobody meets a new rule until somebody raises its share.
        return {"serve": "canary", "share_bp": 0, "enabled": True, "priority": 100, "trust": "any"}
    return {
        "serve": rule.get("serve"),
        "share_bp": rule.get("share_bp", BUCKETS),
        "enabled": rule.get("enabled", True),
        "priority": rule.get("priority", 100),
        "trust": rule.get("trust", "any"),
        "note": rule.get("note", ""),
    }


class PathEditor:
    """The forms of one code path: its release, its rules, one more rule."""

    def __init__(self, facts: PathFacts, document: Any, *, data: Any) -> None:
        self.facts = facts
        self.key = facts.key
        self.form = ReleaseForm(
            data,
            prefix=f"release:{self.key}",
            facts=facts,
            initial=self._release_in(document),
        )
        self.rules: list[RuleEditor] = []
        self.hidden_rules = 0
        self.new_rule = RuleEditor({}, facts, place=None, prefix=f"new:{self.key}", data=data)
        self.new_rule.rule_path = self.key
        self.faults: list[Any] = []

    def _release_in(self, document: Any) -> dict[str, Any]:
        releases = document.get("releases") if isinstance(document, dict) else None
        release = releases.get(self.key) if isinstance(releases, dict) else None
        if isinstance(release, dict):
            return {"enabled": True, **release}
        return {"enabled": True, **{role: getattr(self.facts.release, role) for role in ROLES}}

    @property
    def forms(self) -> Iterator[forms.Form]:
        """Return all forms."""
        yield self.form
        for rule in (*self.rules, self.new_rule):
            yield from rule.forms

    def apply(self, document: dict[str, Any]) -> list[str]:
        """Write what was changed; return what could not be."""
        if self.form.has_changed():
            releases = document.setdefault("releases", {})
            if not isinstance(releases, dict):
                return ["the document has no object of releases"]
            known = releases.get(self.key)
            release = dict(known) if isinstance(known, dict) else {}
            told = self.form.cleaned_data
            # A release of the document replaces the one in code whole.
            names = self.form.changed_data if known else self.form.fields
            release.update({name: told[name] or None for name in names if name != "enabled"})
            release.pop("enabled", None) if told["enabled"] else release.update(enabled=False)
            releases[self.key] = {name: told for name, told in release.items() if told is not None}
        undone = (rule.apply(document) for rule in (*self.rules, self.new_rule))
        return [why for why in undone if why is not None]


class Editor:
    """
    The forms of a draft.

    seen: the document that the forms show. Only fields that differ from it are written, so the
    document may be edited by hand in the same breath.
    """

    def __init__(self, seen: Any, facts: Mapping[str, PathFacts], data: Any = None) -> None:
        self.paths = {key: PathEditor(facts[key], seen, data=data) for key in sorted(facts)}
        count = sum(len(form.fields) for path in self.paths.values() for form in path.forms)
        for place, rule in drafting.rules_of(seen):
            path = self.paths.get(rule["path"])
            if path is None:
                continue
            editor = RuleEditor(rule, path.facts, place=place, prefix=f"rule{place}", data=data)
            count += editor.fields_count
            if count > FIELDS_MAX:
                path.hidden_rules += 1
            else:
                path.rules.append(editor)

    def is_valid(self) -> bool:
        """Test whether every form can be written."""
        return all(form.is_valid() for path in self.paths.values() for form in path.forms)

    def apply(self, document: Any) -> list[str]:
        """Write what was changed into the document; return what could not be."""
        if not isinstance(document, dict):
            return []
        return [why for path in self.paths.values() for why in path.apply(document)]

    def place_faults(self, faults: Sequence[Mapping[str, Any]]) -> None:
        """Show each fault beside the form that it is about, as well."""
        by_place = {rule.place: rule for path in self.paths.values() for rule in path.rules}
        for fault in faults:
            _, *steps = fault["pointer"].split("/")
            if steps[:1] == ["rules"] and len(steps) > 1 and steps[1].isdigit():
                rule = by_place.get(int(steps[1]))
                if rule is not None:
                    rule.faults.append(fault)
            elif len(steps) > 1 and steps[1] in self.paths:
                self.paths[steps[1]].faults.append(fault)

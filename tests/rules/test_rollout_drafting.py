"""A draft as text, as rows of a form, and beside what others published."""

import copy

import pytest

from rollout.drafting import (
    LINES_MAX,
    VALUES_IN_FORM_MAX,
    Line,
    UnreadableDraft,
    change_rule,
    clause_of,
    compared,
    line_of,
    merge,
    parse,
    row_of,
    rules_of,
    written,
)

RULE = {"id": "half", "path": "tests.path", "serve": "canary", "share_bp": 5000}
OTHER = {"id": "staff", "path": "tests.path", "serve": "canary"}


class TextTests:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ('{"rules": [}', "line 1, column 12"),
            ('{"rules": [], "rules": []}', "a member is named twice: 'rules'"),
            ('{"share_bp": NaN}', "NaN is not JSON"),
            ('{"note": "\\ud800"}', "surrogates not allowed"),
        ],
    )
    def test_refuses_what_others_would_read_differently(self, text, told):
        with pytest.raises(UnreadableDraft, match=told):
            parse(text)

    def test_writes_the_same_rules_as_the_same_text(self):
        document = {"rules": [RULE], "schema_version": 1, "releases": {}}
        shuffled = {"releases": {}, "schema_version": 1, "rules": [dict(reversed(RULE.items()))]}

        assert written(document) == written(shuffled)
        assert list(parse(written(document))) == ["schema_version", "releases", "rules"]
        assert parse(written(document)) == document

    @pytest.mark.parametrize(
        ("pointer", "line"),
        [
            ("", 1),
            ("/rules", 4),
            ("/rules/0/share_bp", 9),
            ("/rules/0/serve/x", 8),
            ("/rules/7", 4),
        ],
    )
    def test_knows_the_line_of_a_pointer(self, pointer, line):
        document = {"schema_version": 1, "releases": {}, "rules": [RULE]}

        assert line_of(document, pointer) == line

    def test_compares_line_by_line(self):
        changed = {"rules": [{**RULE, "share_bp": 100}]}

        lines = compared({"rules": [RULE]}, changed)

        assert [line for line in lines if line.kind in ("added", "removed")] == [
            Line("removed", '      "share_bp": 5000'),
            Line("added", '      "share_bp": 100'),
        ]
        assert compared(changed, copy.deepcopy(changed)) == []

    def test_does_not_compare_what_nobody_would_read(self):
        assert compared({}, {"ids": ["x"] * LINES_MAX}) is None


class RowTests:
    @pytest.mark.parametrize(
        "clause",
        [
            {"kind": "account", "values": ["7", "8"]},
            {"kind": "segment", "values": ["testers"], "not": True},
            {"kind": "header", "name": "x-tier", "op": "prefix", "values": ["go, ld"]},
            {"kind": "query", "name": "beta", "op": "exists"},
            {"kind": "attr", "name": "lines", "op": "at_least", "values": [20]},
            {"kind": "attr", "name": "weight", "op": "at_most", "values": [1.5]},
            {"kind": "user_agent", "family": "acme", "versions": ">=2"},
            {"kind": "user_agent", "family": "acme"},
            {"kind": "user_agent", "regex": "acme/[0-9]"},
        ],
    )
    def test_comes_back_as_the_clause_that_it_was(self, clause):
        assert clause_of(row_of(clause)) == clause

    @pytest.mark.parametrize(
        "clause",
        [
            "account",
            {"kind": 7},
            {"kind": "account", "values": "7"},
            {"kind": "account", "values": ["7"] * (VALUES_IN_FORM_MAX + 1)},
            {"kind": "header", "name": "x", "values": ["a\nb"]},
        ],
    )
    def test_leaves_to_the_document_what_no_row_holds(self, clause):
        assert row_of(clause) is None

    def test_hands_faults_on_to_the_reader_of_rules(self):
        row = {"kind": "attr", "negated": False, "name": "lines", "op": "at_least", "values": "ten"}

        assert clause_of(row)["values"] == ["ten"]

    def test_shows_only_rules_that_are_rules(self):
        document = {"rules": [7, {"id": 1}, {**RULE, "match": 7}, RULE]}

        assert rules_of(document) == [(3, RULE)]
        assert rules_of({"rules": {}}) == []
        assert rules_of([]) == []


class ChangeRuleTests:
    def change(self, document, **what):
        told = {"members": {}, "clauses": {}, "added": (), "seen_match": []}
        return change_rule(document, "half", **{**told, **what})

    def test_writes_members_and_takes_away_empty_ones(self):
        document = {"rules": [{**RULE, "note": "old"}]}

        undone = self.change(document, members={"share_bp": 7, "note": None})

        assert undone is None
        assert document["rules"] == [{**RULE, "share_bp": 7}]

    def test_changes_removes_and_adds_clauses(self):
        match = [{"kind": "account", "values": ["7"]}, {"kind": "method", "values": ["GET"]}]
        document = {"rules": [{**RULE, "match": copy.deepcopy(match)}]}
        row = row_of(match[0])

        undone = self.change(
            document,
            clauses={0: {**row, "values": "8"}, 1: None},
            added=[{**row, "kind": "user"}],
            seen_match=match,
        )

        assert undone is None
        assert document["rules"][0]["match"] == [
            {"kind": "account", "values": ["8"]},
            {"kind": "user", "values": ["7"]},
        ]

    def test_says_when_the_rule_was_taken_away_by_hand(self):
        assert "no rule half" in self.change({"rules": []}, members={"share_bp": 7})

    def test_touches_no_clause_that_was_changed_by_hand(self):
        document = {"rules": [{**RULE, "match": [{"kind": "user", "values": ["ann"]}]}]}
        before = copy.deepcopy(document)

        undone = self.change(document, members={"share_bp": 7}, clauses={0: None}, seen_match=[])

        assert "were changed in the document as well" in undone
        assert document == before


class MergeTests:
    base = {"rules": [RULE, OTHER], "kill_switch": {"all": False}}

    def test_takes_what_only_one_side_changed(self):
        mine = {**self.base, "rules": [{**RULE, "share_bp": 9000}, OTHER]}
        theirs = {"rules": [OTHER, RULE, {**OTHER, "id": "new"}], "kill_switch": {"all": True}}

        merged = merge(self.base, mine, theirs)

        assert merged.conflicts == ()
        assert merged.document == {
            "rules": [{**RULE, "share_bp": 9000}, OTHER, {**OTHER, "id": "new"}],
            "kill_switch": {"all": True},
        }

    def test_keeps_mine_and_names_where_both_changed(self):
        mine = {**self.base, "rules": [{**RULE, "share_bp": 9000}, OTHER]}
        theirs = {**self.base, "rules": [{**RULE, "share_bp": 1}, OTHER]}

        merged = merge(self.base, mine, theirs)

        assert merged.document == mine
        assert merged.conflicts == ("/rules/half/share_bp",)

    def test_keeps_away_what_one_side_took_away(self):
        gone = {**self.base, "rules": [RULE]}

        assert merge(self.base, gone, self.base).document == gone
        assert merge(self.base, self.base, gone).document == gone
        assert merge(self.base, gone, gone).conflicts == ()

    def test_names_what_was_taken_away_here_and_changed_there(self):
        mine = {**self.base, "rules": [RULE]}
        theirs = {**self.base, "rules": [RULE, {**OTHER, "share_bp": 5}]}

        merged = merge(self.base, mine, theirs)

        assert merged.document == mine
        assert merged.conflicts == ("/rules/staff",)

    def test_takes_rules_that_have_no_ids_as_one(self):
        mine, theirs = {"rules": [{"id": "a"}]}, {"rules": [{"id": "b"}]}

        merged = merge({"rules": []}, mine, theirs)

        assert merged.document == mine
        assert merged.conflicts == ("/rules",)

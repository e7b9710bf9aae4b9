"""The difference of two documents is a JSON patch that makes one from the other."""

import copy
import json

from hypothesis import given
from hypothesis import strategies as st

from rollout.changes import changes_between
from rollout.document import canonical, checksum_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("a/~", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=4)
    ),
    max_leaves=15,
)


def patched(document, operations):
    """Apply a patch, plainly after RFC 6902."""
    box = {"": copy.deepcopy(document)}
    for operation in operations:
        steps = [
            step.replace("~1", "/").replace("~0", "~") for step in operation["path"].split("/")
        ]
        place = box
        for step in steps[:-1]:
            place = place[int(step)] if isinstance(place, list) else place[step]
        last = steps[-1]
        if isinstance(place, list):
            if operation["op"] == "remove":
                del place[int(last)]
            elif operation["op"] == "add":
                assert last == "-"
                place.append(operation["value"])
            else:
                place[int(last)] = operation["value"]
        elif operation["op"] == "remove":
            del place[last]
        else:
            place[last] = operation["value"]
    return box[""]


def same(one, other):
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


class ChangesTests:
    def test_names_what_was_added_removed_and_replaced(self):
        old = {"rules": [{"id": "a", "share_bp": 1}, {"id": "b"}], "note": "x"}
        new = {"rules": [{"id": "a", "share_bp": 5}], "segments": {}}

        assert changes_between(old, new) == [
            {"op": "remove", "path": "/note"},
            {"op": "replace", "path": "/rules/0/share_bp", "value": 5},
            {"op": "remove", "path": "/rules/1"},
            {"op": "add", "path": "/segments", "value": {}},
        ]

    @given(JSON, JSON)
    def test_turns_the_one_into_the_other(self, old, new):
        assert same(patched(old, changes_between(old, new)), new)

    @given(JSON)
    def test_is_empty_for_equals(self, document):
        assert changes_between(document, copy.deepcopy(document)) == []


class CanonicalTests:
    def test_is_one_text_for_equal_documents(self):
        assert canonical({"b": 1.0, "a": ["é", 0.2]}) == '{"a":["é",0.2],"b":1}'
        assert checksum_of({"b": 1, "a": 2}) == checksum_of({"a": 2.0, "b": 1.0})

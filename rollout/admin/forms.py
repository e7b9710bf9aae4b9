"""What people type on the pages of rollout."""

from typing import Any

from django import forms

from rollout.policies import MODES
from rollout.rules import TRUSTS
from rollout.runtime import runtime

COMMENT_MAX = 500


def _list_paths() -> list[tuple[str, str]]:
    return [(key, key) for key in sorted(runtime.facts)]


def _list_paths_and_all() -> list[tuple[str, str]]:
    return [("", "everything"), *_list_paths()]


class Lines(forms.CharField):
    """Text of many lines; browsers send other line ends than they were given."""

    widget = forms.Textarea(attrs={"rows": 2, "cols": 40, "spellcheck": "false"})

    def to_python(self, value: Any) -> str:
        """Return the text with one kind of line end, so that only an edit is a change."""
        return "\n".join((super().to_python(value) or "").splitlines())


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(
        max_length=COMMENT_MAX, required=False, help_text="For the history and the audit trail."
    )


class SwitchForm(ReasonForm):
    """Which switch, and why."""

    path = forms.ChoiceField(choices=_list_paths_and_all, required=False)
    field_order = ("path", "reason")


class ModeForm(ReasonForm):
    """How a breaker decides."""

    mode = forms.ChoiceField(
        choices=[(mode, mode.replace("_", " ")) for mode in MODES],
        help_text="auto: its policy decides. forced open: this version serves nobody. forced "
        "closed: it serves whatever happens. metrics only: it counts and never opens.",
    )
    field_order = ("mode", "reason")


class OverKnownForm(forms.Form):
    """A comment, and the generation that was looked at."""

    expected_generation = forms.IntegerField(min_value=0, widget=forms.HiddenInput)
    comment = forms.CharField(
        max_length=COMMENT_MAX, required=False, help_text="For the history and the audit trail."
    )


class RollBackForm(OverKnownForm):
    """Why the rules go back."""


class PromoteForm(OverKnownForm):
    """Why the canary becomes stable."""


class CompareForm(forms.Form):
    """Two generations; 0 is the empty rule set that nobody published."""

    old = forms.IntegerField(label="Generation", min_value=0, max_value=10**15)
    new = forms.IntegerField(label="with", min_value=0, max_value=10**15)


class ExplainForm(forms.Form):
    """A call that nobody makes."""

    path = forms.ChoiceField(choices=_list_paths)
    account = forms.CharField(required=False)
    user = forms.CharField(required=False)
    customer = forms.CharField(required=False)
    headers = Lines(required=False, help_text="A line each: User-Agent: acme/2.1")
    query = Lines(required=False, help_text="A line each: name=value")
    attributes = Lines(required=False, help_text="What the call says about itself: name=value")
    method = forms.CharField(required=False, max_length=10)
    url_path = forms.CharField(required=False, label="URL path")
    trust = forms.MultipleChoiceField(
        choices=[(trust, trust.replace("_", " ")) for trust in TRUSTS if trust != "any"],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="What the caller is taken for.",
    )

    @property
    def says_more(self) -> bool:
        """Test whether more than who calls was filled in."""
        who = {"path", "account", "user", "customer"}
        return self.is_bound and any(self.data.get(name) for name in self.fields.keys() - who)

    def clean_headers(self) -> dict[str, str]:
        """Return headers by name."""
        return _pairs(self.cleaned_data["headers"], ":")

    def clean_query(self) -> dict[str, str]:
        """Return parameters by name."""
        return _pairs(self.cleaned_data["query"], "=")

    def clean_attributes(self) -> dict[str, str]:
        """Return attributes by name."""
        return _pairs(self.cleaned_data["attributes"], "=")

    def call(self) -> dict[str, Any]:
        """Return the call as inspection.imagine_call takes it."""
        told = self.cleaned_data
        names = ("account", "user", "customer")
        return {
            "identities": {name: told[name] for name in names if told[name]},
            "headers": told["headers"],
            "query": told["query"],
            "attributes": ({"customer": told["customer"]} if told["customer"] else {})
            | told["attributes"],
            "trusts": told["trust"],
            "method": told["method"],
            "url_path": told["url_path"],
        }


def _pairs(text: str, separator: str) -> dict[str, str]:
    pairs = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, found, value = line.partition(separator)
        if not found or not name.strip():
            raise forms.ValidationError(f"{line}: write name{separator} value")
        pairs[name.strip()] = value.strip()
    return pairs

"""The page of a draft: edit, validate, preview, publish by compare-and-set."""

from dataclasses import dataclass, field, replace
from typing import Any

from django import forms
from django.http import HttpRequest

from rollout import drafting, usecases
from rollout.admin.editor import Editor
from rollout.admin.forms import COMMENT_MAX, Lines
from rollout.admin.pages import actor_of, published_since, tell_preview, told
from rollout.document import checksum_of
from rollout.errors import RolloutError, StaleGeneration
from rollout.runtime import runtime
from rollout.storage import Published

# Sent twice by the page, and a request may have 1 MiB.
DOCUMENT_CHARS_MAX = 200_000
FAULTS_MAX = 50


class DraftForm(forms.Form):
    """The draft itself, and what the page knew of it."""

    document = Lines(
        label="Rule set",
        max_length=DOCUMENT_CHARS_MAX,
        widget=forms.Textarea(attrs={"rows": 32, "spellcheck": "false", "wrap": "off"}),
    )
    seen = forms.CharField(widget=forms.HiddenInput, max_length=DOCUMENT_CHARS_MAX)
    base_generation = forms.IntegerField(min_value=0, widget=forms.HiddenInput)
    previewed = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)
    comment = forms.CharField(
        required=False,
        max_length=COMMENT_MAX,
        label="Why",
        help_text="For the history and the audit trail.",
    )


@dataclass
class Draft:
    """A draft as one page shows it."""

    text: str
    seen: str
    base_generation: int
    editor: Editor
    document: Any = None
    comment: str = ""
    previewed: str = ""
    errors: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    faults: list[Any] = field(default_factory=list)
    is_judged: bool = False
    preview: dict[str, Any] | None = None
    comparison: dict[str, Any] | None = None
    meanwhile: list[Any] = field(default_factory=list)

    @property
    def form(self) -> DraftForm:
        """Return the form that carries the draft to the next page."""
        return DraftForm(
            initial={
                "document": self.text,
                "seen": self.seen,
                "base_generation": self.base_generation,
                "previewed": self.previewed,
                "comment": self.comment,
            }
        )


def begin(document: Any, *, base_generation: int) -> Draft:
    """Return a draft of a document, unchanged so far."""
    text = drafting.written(document)
    editor = Editor(document, runtime.facts)
    return Draft(text, text, base_generation, editor, document)


def read(request: HttpRequest) -> Draft:
    """Return the draft that a page sent, with what its forms changed written into the document."""
    form = DraftForm(request.POST)
    if not form.is_valid():
        return _unreadable(form)
    sent = form.cleaned_data
    try:
        seen = drafting.parse(sent["seen"])
    except drafting.UnreadableDraft:
        form.add_error("seen", "This page is incomplete: copy the document into a new draft.")
        return _unreadable(form)
    editor = Editor(seen, runtime.facts, request.POST)
    draft = Draft(
        sent["document"],
        sent["seen"],
        sent["base_generation"],
        editor,
        comment=sent["comment"],
        previewed=sent["previewed"],
    )
    try:
        document = drafting.parse(sent["document"])
    except drafting.UnreadableDraft as failure:
        draft.errors.append(f"The document is no JSON: {failure}.")
        return draft
    if not editor.is_valid():
        draft.errors.append("Nothing was taken over from the forms: see below.")
        return draft
    notices = [f"Not taken over: {why}." for why in editor.apply(document)]
    return replace(
        begin(document, base_generation=sent["base_generation"]),
        comment=sent["comment"],
        previewed=sent["previewed"],
        notices=notices,
    )


def _unreadable(form: DraftForm) -> Draft:
    current = usecases.get_current()
    draft = begin(current.payload, base_generation=current.generation)
    draft.text = str(form.data.get("document", draft.text))
    draft.errors = [f"{name}: {error}" for name, told in form.errors.items() for error in told]
    return draft


def judge(draft: Draft) -> bool:
    """Note each fault of a draft; return whether it could be published."""
    if draft.errors:
        return False
    draft.meanwhile = published_since(draft.base_generation)
    faults = usecases.validate(draft.document)
    draft.is_judged = True
    draft.faults = [
        {**fault, "line": drafting.line_of(draft.document, fault["pointer"])}
        for fault in faults[:FAULTS_MAX]
    ]
    draft.editor.place_faults(draft.faults)
    return not faults


def preview(draft: Draft) -> None:
    """Note what publishing would do, and that it was looked at."""
    current, seen = usecases.get_current(), usecases.preview(draft.document)
    draft.preview = tell_preview(seen)
    draft.comparison = {
        "old": current.generation,
        "new": None,
        "lines": drafting.compared(current.payload, draft.document),
        "changes": seen.changes,
    }
    draft.previewed = checksum_of(draft.document)


def bring_up_to_date(draft: Draft) -> Draft:
    """Return the draft on top of what was published since it began."""
    current = usecases.get_current()
    base = usecases.get_generation(draft.base_generation)
    merged = drafting.merge(base.payload, draft.document, current.payload)
    newer = replace(
        begin(merged.document, base_generation=current.generation), comment=draft.comment
    )
    newer.notices = [
        f"Your draft stands now on generation {current.generation}.",
        *(f"Changed by both, yours was kept: {pointer}" for pointer in merged.conflicts),
    ]
    return newer


def publish(request: HttpRequest, draft: Draft) -> Published | None:
    """
    Publish a draft that was judged good and previewed as it is.

    None: it was not; the draft says why, and nothing moved.
    """
    if draft.previewed != checksum_of(draft.document):
        preview(draft)
        draft.errors.append("The draft changed since its preview: look at what it does now.")
        return None
    if not draft.comment.strip():
        preview(draft)
        draft.errors.append("Say why: the next person will ask.")
        return None
    try:
        return usecases.publish(
            draft.document,
            expected_generation=draft.base_generation,
            actor=actor_of(request),
            comment=draft.comment,
        )
    except RolloutError as refusal:
        if isinstance(refusal, StaleGeneration):
            draft.meanwhile = published_since(draft.base_generation)
        draft.errors.append(f"Nothing was published, and your draft is kept: {told(refusal)}")
        return None

"""Things that people ask to have done: a form each, sent once however often it is sent."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from uuid import uuid4

import orjson
from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import slugify

from backoffice.pages import ReadOnlyAdmin

DOUBLE_CLICK_WAITS_S = (0.1, 0.4, 1.0)


@dataclass(frozen=True, slots=True)
class Done:
    """
    What was done, in a sentence, and whether it had been done before.

    pk: the row that it made, to go on there. secret: shown this once, on a page of its own.
    """

    told: str
    is_repeat: bool = False
    pk: Any = None
    secret: str = ""


class ActForm(forms.Form):
    """
    One thing that a person asks to have done to a row, or with none.

    key is made when the form is shown: a use case that is given it acts once for it.
    """

    verb: ClassVar[str]
    permission: ClassVar[str]
    explanation: ClassVar[str] = ""
    is_of_a_row: ClassVar[bool] = True
    enctype: ClassVar[str] = "application/x-www-form-urlencoded"

    key = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, row: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.row = row

    @classmethod
    def slug(cls) -> str:
        """Return its name in an address."""
        return slugify(cls.verb)

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        """Test whether the row can have this done, as it stands; the use case has the last word."""
        return True

    @classmethod
    def first_values(cls, row: Any) -> dict[str, Any]:
        """Return what the form shows before anything is typed."""
        return {}

    def facts(self) -> Sequence[tuple[str, Any]]:
        """Return what whoever decides should see: names and values."""
        return ()

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        """Return the headings and the rows of fields that belong in a table, if there are any."""
        return (), ()

    def plain_fields(self) -> list[Any]:
        """Return the visible fields that are in no table."""
        return list(self.visible_fields())

    def as_request(self, request: HttpRequest) -> dict[str, Any]:
        """Return what makes this one keyed request, whoever sends it however often."""
        said = {name: str(value) for name, value in self.cleaned_data.items()}
        return {
            "account_id": request.user.pk,
            "header": str(self.cleaned_data["key"]),
            "method": "POST",
            "route": request.path,
            "canonical_body": orjson.dumps(said, option=orjson.OPT_SORT_KEYS),
            "request_id": getattr(request, "request_id", ""),
            "trace_id": getattr(request, "trace_id", ""),
        }

    def act(self, request: HttpRequest) -> Done:
        """Ask the use case."""
        raise NotImplementedError


class ActAdmin(ReadOnlyAdmin):
    """
    Rows to read, and what may be done to them by whoever may.

    refusals: what use cases say no by. Each has `retryable`: whether the same form may be sent
    again.
    """

    acts: ClassVar[Sequence[type[ActForm]]] = ()
    refusals: ClassVar[tuple[type[Exception], ...]] = ()
    change_form_template: ClassVar[Any] = "admin/backoffice/change_form.html"

    def get_urls(self) -> list[URLPattern]:
        """Add a page for each act."""
        return [*(self._url(form) for form in self.acts), *super().get_urls()]

    def _url(self, form: type[ActForm]) -> URLPattern:
        where = f"<path:object_id>/{form.slug()}/" if form.is_of_a_row else f"{form.slug()}/"
        view = self.admin_site.admin_view(partial(self.act_view, form=form))
        return path(where, view, name=self._name(form.slug()))

    def _name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    def _address(self, page: str, *args: Any) -> str:
        return reverse(f"admin:{self._name(page)}", args=args)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, and what may be begun."""
        ways = self._ways(request, None)
        return super().changelist_view(request, {"ways": ways, **(extra_context or {})})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show a row, its story, and what may be done to it."""
        row = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if row is not None:
            context = {"ways": self._ways(request, row), **self.story_of(request, row), **context}
        return super().change_view(request, object_id, form_url, context)

    def story_of(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what the page of a row tells besides its fields."""
        return {}

    def _ways(self, request: HttpRequest, row: Any) -> list[tuple[str, str]]:
        args = [] if row is None else [row.pk]
        return [
            (form.verb, self._address(form.slug(), *args))
            for form in self.acts
            if form.is_of_a_row == (row is not None)
            and request.user.has_perm(form.permission)
            and (row is None or form.is_possible(row))
        ]

    def act_view(
        self, request: HttpRequest, form: type[ActForm], object_id: str | None = None
    ) -> HttpResponse:
        """Ask what to do and why; then have it done once, however often the form is sent."""
        row = self._row_for(request, form, object_id)
        initial = {"key": uuid4(), **form.first_values(row)}
        sent = (request.POST, request.FILES) if request.method == "POST" else (None, None)
        asked = form(*sent, row=row, initial=initial)
        if not asked.is_valid():
            return self._ask(request, asked)
        try:
            done = self._act(request, asked)
        except self.refusals as refusal:
            return self._refuse(request, asked, refusal)
        return self._tell(request, asked, done)

    def _act(self, request: HttpRequest, form: ActForm) -> Done:
        """Have it done. Of a double click the second waits for what the first is told."""
        for wait_s in DOUBLE_CLICK_WAITS_S:
            try:
                return form.act(request)
            except self.refusals as refusal:
                if getattr(refusal, "code", "") != "request_in_progress":
                    raise
            time.sleep(wait_s)
        return form.act(request)

    def _row_for(self, request: HttpRequest, form: type[ActForm], object_id: str | None) -> Any:
        if not request.user.has_perm(form.permission):
            raise PermissionDenied
        if object_id is None:
            return None
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        return row

    def _ask(self, request: HttpRequest, form: ActForm) -> HttpResponse:
        headings, rows = form.table()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": form.verb if form.row is None else f"{form.verb} {form.row}",
            "form": form,
            "headings": headings,
            "rows": rows,
            "back": self._back(form.row),
        }
        return TemplateResponse(request, "admin/backoffice/act.html", context)

    def _back(self, row: Any) -> str:
        if row is None:
            return self._address("changelist")
        return self._address("change", row.pk)

    def _refuse(self, request: HttpRequest, form: ActForm, refusal: Exception) -> HttpResponse:
        if getattr(refusal, "retryable", False):
            # The same form has the same key: whatever became of it, it is done once.
            form.add_error(None, f"{refusal} Send this form again: it is done once.")
            return self._ask(request, form)
        why = [str(refusal)]
        if getattr(refusal, "code", "") == "idempotency_key_reused":
            why = ["this form was sent before with other values. Begin with a new one."]
        # Django's own list of forms' errors has this name as well.
        why += [error["message"] for error in getattr(refusal, "errors", ())]
        self.message_user(request, f"Nothing was done: {' '.join(why)}", messages.WARNING)
        return redirect(self._back(form.row))

    def _tell(self, request: HttpRequest, form: ActForm, done: Done) -> HttpResponse:
        row = form.row
        if done.is_repeat:
            self.message_user(request, f"This was done already. {done.told}", messages.INFO)
        else:
            if row is not None:
                # After the fact: the use case's transaction is its own.
                self.log_change(request, row, done.told)
            self.message_user(request, done.told, messages.SUCCESS)
        onward = self._address("change", done.pk) if done.pk is not None else self._back(row)
        if done.secret:
            context = {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": form.verb,
                "secret": done.secret,
                "onward": onward,
            }
            return TemplateResponse(request, "admin/backoffice/shown_once.html", context)
        return redirect(onward)

"""Every rule set that was published: read, compared, brought back."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path, reverse

from rollout import drafting, usecases
from rollout.admin.forms import CompareForm, RollBackForm
from rollout.admin.pages import (
    PUBLISH,
    SEE,
    RolloutAdmin,
    acknowledged,
    demand,
    get_or_404,
    number_in_force,
    sent,
    tell_preview,
)
from rollout.models import RuleSetRevision
from rollout.storage import Published


class RevisionAdmin(RolloutAdmin):
    """The history; going back publishes an old rule set anew."""

    list_display = ("generation", "published_at", "author", "comment")
    search_fields = ("=author", "comment")
    search_help_text = "Who published, or words of the comment."
    ordering = ("-generation",)
    change_list_template = "admin/rollout/history.html"

    @admin.display(description="published at")
    def published_at(self, revision: RuleSetRevision) -> str:
        """Return when, to the second."""
        return f"{revision.created_at:%Y-%m-%d %H:%M:%S}"

    def get_queryset(self, request: HttpRequest) -> QuerySet[RuleSetRevision]:
        """Return revisions without their content, which may be long."""
        return super().get_queryset(request).defer("payload")

    def get_urls(self) -> list[URLPattern]:
        """Add what compares, brings back, and tells who acknowledged."""
        guard = self.admin_site.admin_view
        return [
            path("compare/", guard(self.compare_view), name="rollout_compare"),
            path("<int:number>/roll-back/", guard(self.roll_back_view), name="rollout_roll_back"),
            path(
                "<int:number>/acknowledged.json",
                guard(self.acknowledged_view),
                name="rollout_acknowledged",
            ),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """List what was published."""
        newest = number_in_force()
        form = CompareForm(initial={"old": max(newest - 1, 0), "new": newest})
        context = {"title": "History", "compare_form": form, **(extra_context or {})}
        return super().changelist_view(request, context)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one generation, what it changed, and, while it is in force, who has it."""
        demand(request, SEE, PUBLISH)
        revision: Any = self.get_object(request, object_id)
        if revision is None:
            raise Http404
        current = number_in_force()
        is_current = revision.generation == current
        return self.page(
            request,
            "generation.html",
            title=f"Generation {revision.generation}",
            revision=revision,
            current=current,
            is_current=is_current,
            workers_html=acknowledged(current)["html"] if is_current else "",
            comparison=_compared(
                get_or_404(revision.generation - 1), get_or_404(revision.generation)
            ),
            text=drafting.written(revision.payload),
        )

    def acknowledged_view(self, request: HttpRequest, number: int) -> HttpResponse:
        """Return how far a generation has come."""
        demand(request, SEE, PUBLISH)
        if number != number_in_force():
            return JsonResponse(
                {"html": "<p>Another generation is in force.</p>", "is_final": True}
            )
        return JsonResponse(acknowledged(number))

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        """Show what differs between two generations."""
        demand(request, SEE, PUBLISH)
        form = CompareForm(request.GET)
        comparison = None
        if form.is_valid():
            comparison = _compared(
                get_or_404(form.cleaned_data["old"]), get_or_404(form.cleaned_data["new"])
            )
        return self.page(
            request,
            "compare.html",
            title="Compare generations",
            compare_form=form,
            comparison=comparison,
        )

    def roll_back_view(self, request: HttpRequest, number: int) -> HttpResponse:
        """Publish an earlier rule set anew."""
        demand(request, PUBLISH)
        old, current = get_or_404(number), usecases.get_current()
        # Rules of old may name what the code has no more.
        faults = usecases.validate(old.payload)
        form = RollBackForm(sent(request), initial={"expected_generation": current.generation})
        if form.is_valid():
            return self.publish(
                request,
                lambda actor: usecases.roll_back(number, actor=actor, **form.cleaned_data),
                back_to=request.path,
            )
        return self.ask(
            request,
            form,
            title=f"Roll back to generation {number}",
            verb=f"Publish generation {number} anew",
            explanation=f"The rules of generation {number} become generation "
            f"{current.generation + 1}; all workers follow within seconds.",
            comparison=_compared(current, old),
            faults=faults,
            preview=None if faults else tell_preview(usecases.preview(old.payload)),
            cancel_url=_address_of(number),
        )


def _compared(old: Published, new: Published) -> dict[str, Any]:
    return {
        "old": old.generation,
        "new": new.generation,
        "lines": drafting.compared(old.payload, new.payload),
        "changes": usecases.compare(old.generation, new.generation),
    }


def _address_of(number: int) -> str:
    if number == 0:
        return reverse("admin:rollout_rulesetrevision_changelist")
    return reverse("admin:rollout_rulesetrevision_change", args=[number])

"""What the pages of rollout share: who may, how a page is made, how a publication is told."""

from collections.abc import Callable
from dataclasses import asdict
from ipaddress import ip_address
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse

from rollout import announcing, inspection, usecases
from rollout.errors import RolloutError, StaleGeneration, UnknownGeneration
from rollout.storage import Published
from rollout.usecases import Actor

SEE, SEE_TRAIL = "rollout.view_rulesetrevision", "rollout.view_auditevent"
PUBLISH, KILL = "rollout.publish", "rollout.kill"
MEANWHILE_MAX = 10


class RolloutAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows to read; whatever changes the rules is a page of its own and asks the door."""

    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: rows come by publishing."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: what was published stays as it was."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: what was published stays."""
        return False

    def page(self, request: HttpRequest, name: str, **context: Any) -> HttpResponse:
        """Return a page in the frame of the admin."""
        may = {
            "may_see": request.user.has_perm(SEE),
            "may_publish": request.user.has_perm(PUBLISH),
            "may_kill": request.user.has_perm(KILL),
            "may_see_trail": request.user.has_perm(SEE_TRAIL),
        }
        frame = {**self.admin_site.each_context(request), "opts": self.opts, **may}
        return TemplateResponse(request, f"admin/rollout/{name}", {**frame, **context})

    def ask(
        self, request: HttpRequest, form: forms.Form, *, title: str, verb: str, **context: Any
    ) -> HttpResponse:
        """Return the page that asks once more before something is published."""
        return self.page(request, "confirm.html", form=form, title=title, verb=verb, **context)

    def publish(
        self, request: HttpRequest, verb: Callable[[Actor], Published], *, back_to: str
    ) -> HttpResponse:
        """Do it and go where the acknowledgements are shown; a refusal is told at back_to."""
        before = number_in_force()
        try:
            published = verb(actor_of(request))
        except RolloutError as refusal:
            messages.warning(request, f"Nothing was published: {told(refusal)}")
            return redirect(back_to)
        if published.generation == before:
            messages.info(request, "It stood so already: nothing was published.")
        else:
            messages.success(request, f"Generation {published.generation} is published.")
        return redirect("admin:rollout_rulesetrevision_change", published.generation)


def demand(request: HttpRequest, *permissions: str) -> None:
    """Raise PermissionDenied unless the user has one of the permissions."""
    if not any(request.user.has_perm(permission) for permission in permissions):
        raise PermissionDenied


def actor_of(request: HttpRequest) -> Actor:
    """Return who asks, for the trail."""
    return Actor(
        request.user.get_username(),
        request_id=getattr(request, "request_id", "")[:128],
        ip=_address_of(request),
    )


def _address_of(request: HttpRequest) -> str | None:
    try:
        return str(ip_address(request.META.get("REMOTE_ADDR", "")))
    except ValueError:
        return None  # A unix socket has no address.


def told(refusal: RolloutError) -> str:
    """Return why, and for a lost race who won it."""
    if not isinstance(refusal, StaleGeneration):
        return str(refusal)
    others = "; ".join(
        f"{revision.author} published generation {revision.generation}"
        + (f" ({revision.comment})" if revision.comment else "")
        for revision in published_since(refusal.expected_generation)
    )
    return f"{others or refusal}. Look again, then decide again."


def published_since(generation: int) -> list[Any]:
    """Return the newest revisions after a generation, newest first."""
    newest, _ = usecases.list_generations(limit=MEANWHILE_MAX)
    return [revision for revision in newest if revision.generation > generation]


def sent(request: HttpRequest) -> QueryDict | None:
    """Return what a form was sent with; None while it is only opened."""
    return request.POST if request.method == "POST" else None


def number_in_force() -> int:
    """Return the generation in force, without its rules."""
    newest, _ = usecases.list_generations(limit=1)
    return newest[0].generation if newest else 0


def get_or_404(generation: int) -> Published:
    """Return a rule set that was published; raises Http404."""
    try:
        return usecases.get_generation(generation)
    except UnknownGeneration as refusal:
        raise Http404(str(refusal)) from refusal


def acknowledged(generation: int) -> dict[str, Any]:
    """Return how far the generation in force has come, as a fragment of HTML."""
    found = inspection.tell_convergence(announcing.convergence(generation))
    html = render_to_string("admin/rollout/_workers.html", {"workers": found})
    return {"html": html, "is_final": bool(found and found["is_complete"])}


def tell_preview(preview: usecases.Preview) -> dict[str, Any]:
    """Return who would move, shares as people read them."""
    moves = [{**asdict(move), "percent": percent(move.share_bp)} for move in preview.moves]
    return {"sample_size": preview.sample_size, "moves": moves}


def percent(share_bp: int) -> str:
    """Return basis points as percent."""
    return f"{share_bp / 100:.2f} %"

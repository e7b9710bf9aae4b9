"""What is in force, how breakers and workers stand, and the pages that change it."""

from dataclasses import replace
from functools import partial
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse

from rollout import inspection, usecases
from rollout.admin import drafts
from rollout.admin.forms import ExplainForm, ModeForm, PromoteForm, SwitchForm
from rollout.admin.pages import KILL, PUBLISH, SEE, RolloutAdmin, demand, get_or_404, percent, sent
from rollout.models import RolloutState
from rollout.rules import BUCKETS
from rollout.runtime import runtime
from rollout.snapshot import CompiledPath, Snapshot

TRANSITIONS_SHOWN = 20


class StateAdmin(RolloutAdmin):
    """The overview: the one row of state, as a page."""

    def has_view_permission(self, request: HttpRequest, obj: RolloutState | None = None) -> bool:
        """Show it to whoever sees rules or may stop them."""
        return any(request.user.has_perm(permission) for permission in (SEE, PUBLISH, KILL))

    def get_urls(self) -> list[URLPattern]:
        """Add the pages that draft, explain, promote and stop."""
        return [
            self._url("status.json", self.status_view, "rollout_status"),
            self._url("draft/", self.draft_view, "rollout_draft"),
            self._url("explain/", self.explain_view, "rollout_explain"),
            self._url("kill/", partial(self.switch_view, is_killed=True), "rollout_kill"),
            self._url("revive/", partial(self.switch_view, is_killed=False), "rollout_revive"),
            self._url("promote/<str:key>/", self.promote_view, "rollout_promote"),
            self._url("breaker/<str:key>/<str:version>/", self.mode_view, "rollout_mode"),
            *super().get_urls(),
        ]

    def _url(self, route: str, view: Any, name: str) -> URLPattern:
        page: URLPattern = path(route, self.admin_site.admin_view(view), name=name)
        return page

    # --- Looking ------------------------------------------------------------------------------

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show how rollout stands."""
        demand(request, SEE, PUBLISH, KILL)
        return self.page(request, "overview.html", title="Rollout", live_html=_live_html(request))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the same: there is one row."""
        return self.changelist_view(request)

    def status_view(self, request: HttpRequest) -> HttpResponse:
        """Return the living part of the overview."""
        demand(request, SEE, PUBLISH, KILL)
        return JsonResponse({"html": _live_html(request), "is_final": False})

    def explain_view(self, request: HttpRequest) -> HttpResponse:
        """Tell why a call would be served as it would."""
        demand(request, SEE, PUBLISH)
        form = ExplainForm(request.GET or None)
        explained = None
        if form.is_valid():
            context = inspection.imagine_call(_in_force(), **form.call())
            explained = _tell_explained(inspection.explain_call(form.cleaned_data["path"], context))
        return self.page(
            request, "explain.html", title="Explain a call", form=form, explained=explained
        )

    # --- Drafting -----------------------------------------------------------------------------

    def draft_view(self, request: HttpRequest) -> HttpResponse:
        """Edit, validate, preview and publish a rule set."""
        demand(request, PUBLISH)
        if request.method != "POST":
            return self._begin(request)
        draft = drafts.read(request)
        verb = request.POST.get("verb", "update")
        if verb == "merge" and not draft.errors:
            draft = drafts.bring_up_to_date(draft)
        is_good = drafts.judge(draft)
        if is_good and verb in ("preview", "merge"):
            drafts.preview(draft)
        if is_good and verb == "publish":
            published = drafts.publish(request, draft)
            if published is not None:
                messages.success(request, f"Generation {published.generation} is published.")
                return redirect("admin:rollout_rulesetrevision_change", published.generation)
        return self._show(request, draft)

    def _begin(self, request: HttpRequest) -> HttpResponse:
        current = usecases.get_current()
        number = request.GET.get("from", "")
        source = get_or_404(int(number)) if number.isdecimal() else current
        return self._show(request, drafts.begin(source.payload, base_generation=current.generation))

    def _show(self, request: HttpRequest, draft: drafts.Draft) -> HttpResponse:
        return self.page(request, "draft.html", title="Draft", draft=draft, form=draft.form)

    # --- Changing -----------------------------------------------------------------------------

    def switch_view(self, request: HttpRequest, *, is_killed: bool) -> HttpResponse:
        """Pull the kill switch, or lift it, for everything or one path."""
        demand(request, KILL)
        form = SwitchForm(sent(request), initial={"path": request.GET.get("path", "")})
        if form.is_valid():
            told = form.cleaned_data
            return self.publish(
                request,
                lambda actor: usecases.set_kill_switch(
                    is_killed=is_killed,
                    path=told["path"] or None,
                    actor=actor,
                    reason=told["reason"],
                ),
                back_to=request.path,
            )
        return self.ask(
            request,
            form,
            title="Kill switch" if is_killed else "Lift the kill switch",
            verb="Send it to stable now" if is_killed else "Let rules decide again",
            is_danger=is_killed,
            explanation="No rule is asked and no header believed any more: stable serves, until "
            "somebody lifts the switch. It works without Redis; workers that are not told find it "
            "within seconds."
            if is_killed
            else "Rules decide again who meets which version.",
            cancel_url=reverse("admin:rollout_rolloutstate_changelist"),
        )

    def promote_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """Make a path's canary stable."""
        demand(request, PUBLISH)
        snapshot = _in_force()
        path_in_force = _path_or_404(snapshot, key)
        form = PromoteForm(sent(request), initial={"expected_generation": snapshot.generation})
        if form.is_valid():
            return self.publish(
                request,
                lambda actor: usecases.promote(key, actor=actor, **form.cleaned_data),
                back_to=request.path,
            )
        release = path_in_force.release
        return self.ask(
            request,
            form,
            title=f"Promote the canary of {key}",
            verb=f"Make {release.canary} stable",
            is_impossible=release.canary is None,
            explanation=f"{release.canary} serves everybody on {key}, {release.stable} becomes "
            "its fallback, and rules that serve the canary go."
            if release.canary
            else f"{key} has no canary.",
            cancel_url=reverse("admin:rollout_rolloutstate_changelist"),
        )

    def mode_view(self, request: HttpRequest, key: str, version: str) -> HttpResponse:
        """Force a breaker, or let it decide."""
        demand(request, KILL)
        path_in_force = _path_or_404(_in_force(), key)
        if version not in path_in_force.policies:
            raise Http404(f"{key} has no version {version}")
        form = ModeForm(sent(request), initial={"mode": path_in_force.policies[version].mode})
        if form.is_valid():
            told = form.cleaned_data
            return self.publish(
                request,
                lambda actor: usecases.set_breaker_mode(
                    key, version, told["mode"], actor=actor, reason=told["reason"]
                ),
                back_to=request.path,
            )
        falls_to = ", ".join(path_in_force.chains[version][1:]) or "nothing: callers get a 503"
        return self.ask(
            request,
            form,
            title=f"Breaker of {key} {version}",
            verb="Set the mode",
            explanation=f"When it is open, calls of {version} fall to: {falls_to}.",
            cancel_url=reverse("admin:rollout_rolloutstate_changelist"),
        )


def _in_force() -> Snapshot:
    """Return what this worker has in force, or the database's rules while it is behind them."""
    here, published = runtime.snapshot, usecases.get_current()
    if here.generation == published.generation and not here.is_static:
        return here
    return replace(inspection.snapshot_of(published.generation), breakers=here.breakers)


def _path_or_404(snapshot: Snapshot, key: str) -> CompiledPath:
    if key not in snapshot.paths:
        raise Http404(f"no code path is called {key}")
    return snapshot.paths[key]


def _live_html(request: HttpRequest) -> str:
    snapshot = _in_force()
    status = inspection.tell_status(snapshot)
    for told in status["paths"]:
        told["canary_rules"] = _tell_canary(snapshot.paths[told["path"]])
    context = {
        "status": status,
        "worker": runtime.snapshot,
        "is_killed": usecases.get_current().payload.get("kill_switch", {}).get("all", False),
        "transitions": usecases.list_transitions(limit=TRANSITIONS_SHOWN)[0],
        "newest": next(iter(usecases.list_generations(limit=1)[0]), None),
        "may_publish": request.user.has_perm(PUBLISH),
        "may_kill": request.user.has_perm(KILL),
    }
    return render_to_string("admin/rollout/_status.html", context, request)


def _tell_canary(path_in_force: CompiledPath) -> list[dict[str, Any]]:
    canary = path_in_force.release.canary
    return [
        {
            "id": compiled.rule.id,
            "share": percent(BUCKETS if compiled.share_bp is None else compiled.share_bp),
            "whom": sorted({clause.kind.replace("_", " ") for clause in compiled.rule.match}),
        }
        for compiled in path_in_force.rules
        if canary is not None and compiled.version == canary
    ]


def _tell_explained(explained: dict[str, Any]) -> dict[str, Any]:
    for rule in explained["rules"]:
        for clause in rule.get("clauses", ()):
            clause["told"] = _tell_clause(clause)
        if subject := rule.get("share", {}).get("subject"):
            # Compound subjects are joined by a character that nobody sees.
            rule["share"]["subject_told"] = subject.replace("\x1f", " + ")
    return explained


def _tell_clause(clause: dict[str, Any]) -> str:
    values = ", ".join(str(value) for value in clause.get("values", ()))
    words = [
        "not" if clause["not"] else "",
        clause["kind"].replace("_", " "),
        *(str(clause.get(name) or "") for name in ("name", "op", "family", "versions", "regex")),
        values,
    ]
    return " ".join(filter(None, words))

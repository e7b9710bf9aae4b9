"""The addresses of rollout, for a prefix of the project's: /api/v1/rollout/ here."""

from collections.abc import Callable
from typing import Any

from django.db.transaction import non_atomic_requests
from django.urls import URLPattern, path
from rest_framework.viewsets import ViewSet

from rollout.api.views import AuditViewSet, BreakerViewSet, RulesViewSet, StatusViewSet


def _view(viewset: type[ViewSet], **actions: str) -> Callable[..., Any]:
    # Under ATOMIC_REQUESTS rules would be committed after the answer, which waits for the workers
    # to have them.
    view: Callable[..., Any] = non_atomic_requests(viewset.as_view(actions))  # type: ignore[arg-type]
    return view


urlpatterns: list[URLPattern] = [
    path("status", _view(StatusViewSet, get="status"), name="rollout-status"),
    path("explain", _view(StatusViewSet, get="explain"), name="rollout-explain"),
    path("rules", _view(RulesViewSet, get="current", put="publish"), name="rollout-rules"),
    path(
        "rules/<int:generation>",
        _view(RulesViewSet, get="retrieve"),
        name="rollout-rules-of",
    ),
    path("rules/diff", _view(RulesViewSet, get="diff"), name="rollout-diff"),
    path("rules/history", _view(RulesViewSet, get="history"), name="rollout-history"),
    path("rules/validate", _view(RulesViewSet, post="validate"), name="rollout-validate"),
    path("rules/preview", _view(RulesViewSet, post="preview"), name="rollout-preview"),
    path("rollback", _view(RulesViewSet, post="roll_back"), name="rollout-rollback"),
    path("promote", _view(RulesViewSet, post="promote"), name="rollout-promote"),
    path("kill", _view(RulesViewSet, post="kill"), name="rollout-kill"),
    path("unkill", _view(RulesViewSet, post="unkill"), name="rollout-unkill"),
    path("breakers", _view(BreakerViewSet, get="list"), name="rollout-breakers"),
    path(
        "breakers/transitions",
        _view(BreakerViewSet, get="transitions"),
        name="rollout-transitions",
    ),
    path(
        "breakers/<str:path>/<str:version>/mode",
        _view(BreakerViewSet, put="set_mode"),
        name="rollout-breaker-mode",
    ),
    path("audit", _view(AuditViewSet, get="list"), name="rollout-audit"),
    path("audit/verify", _view(AuditViewSet, get="verify"), name="rollout-audit-verify"),
]

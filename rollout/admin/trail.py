"""The audit trail, to read, with its chain checked."""

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from rollout import usecases
from rollout.admin.pages import RolloutAdmin
from rollout.models import AuditEvent

# So many links are checked in some 20 ms; a longer trail is checked when somebody asks.
CHECKED_UNASKED_MAX = 2_000


class TrailAdmin(RolloutAdmin):
    """Who did what, why, and that nobody rewrote it."""

    list_display = ("id", "when", "actor", "actor_kind", "action", "path", "generations", "reason")
    list_filter = ("action", "actor_kind")
    search_fields = ("=actor", "=path", "=request_id")
    search_help_text = "A user, a path or a request id, in full."
    ordering = ("-id",)
    change_list_template = "admin/rollout/trail.html"
    fields = (
        *("id", "when", "actor", "actor_kind", "action", "path", "generations", "reason"),
        *("changes", "evidence", "request_id", "ip", "prev_hash", "hash"),
    )
    readonly_fields = fields

    @admin.display(description="at")
    def when(self, event: AuditEvent) -> str:
        """Return when, to the second."""
        return f"{event.at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="generation")
    def generations(self, event: AuditEvent) -> str:
        """Return from which generation to which."""
        return f"{event.from_generation} → {event.to_generation}"

    @admin.display(description="changes")
    def changes(self, event: AuditEvent) -> str:
        """Return the JSON patch as text."""
        return json.dumps(event.diff, indent=2, ensure_ascii=False)

    def get_urls(self) -> list[URLPattern]:
        """Add the list with its chain checked, however long it is."""
        page = self.admin_site.admin_view(self.checked_view)
        return [path("checked/", page, name="rollout_checked"), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """List the trail, and whether it is whole."""
        return self._list(request, wants_check=False)

    def checked_view(self, request: HttpRequest) -> HttpResponse:
        """List the trail after checking all of it."""
        return self._list(request, wants_check=True)

    def _list(self, request: HttpRequest, *, wants_check: bool) -> HttpResponse:
        newest, _ = usecases.list_audit_events(limit=1)
        links = newest[0].pk if newest else 0  # Numbered without a gap.
        is_checked = links <= CHECKED_UNASKED_MAX or wants_check
        chain = {
            "links": links,
            "is_checked": is_checked,
            "broken": usecases.verify_audit() if is_checked else (),
            "newest_hash": newest[0].hash if newest else "",
        }
        return super().changelist_view(request, {"title": "Audit trail", "chain": chain})

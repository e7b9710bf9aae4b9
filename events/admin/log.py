"""What happened, as it was recorded."""

from contextlib import suppress
from typing import Any
from uuid import UUID

import orjson
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from backoffice.pages import Pages, ReadOnlyAdmin
from events.admin.webhooks import moment
from events.models import Event

# The types that a filter offers are those of so many events, the newest ones.
NEWEST = 1_000


class TypeFilter(admin.SimpleListFilter):
    """One type of event."""

    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the types that were seen of late: asking for all would read the whole table."""
        newest = Event.objects.order_by("-id").values_list("type", flat=True)[:NEWEST]
        return [(name, name) for name in sorted(set(newest))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow the list."""
        return queryset.filter(type=self.value()) if self.value() else queryset


class EventPages(Pages):
    """Events, newest first."""

    slow_params = frozenset({TypeFilter.parameter_name})


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """Events, newest first, each with what it tells."""

    pages = EventPages
    list_display = ("at", "type", "about", "aggregate_version", "account_id")
    list_filter = (TypeFilter,)
    search_fields = ("id",)  # Shows the box; get_search_results says what it finds.
    search_help_text = "An event's id, or all of one thing: order/0199a0…"
    fields = readonly_fields = (
        *("id", "type", "about", "aggregate_version", "at", "account_id", "traceparent", "told"),
    )

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow what the page offers."""
        return lookup == TypeFilter.parameter_name

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        """Find an event by its id, or what happened to one thing; each is answered by an index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        kind, has_kind, name = term.partition("/")
        if has_kind:
            return queryset.filter(aggregate_type=kind, aggregate_id=name), False
        with suppress(ValueError):
            return queryset.filter(pk=UUID(term)), False
        return queryset.none(), False

    @admin.display(description="at (UTC)")
    def at(self, event: Event) -> str:
        """Return when it happened."""
        return moment(event.occurred_at)

    @admin.display(description="about")
    def about(self, event: Event) -> str:
        """Return what it happened to."""
        return f"{event.aggregate_type}/{event.aggregate_id}"

    @admin.display(description="told")
    def told(self, event: Event) -> str:
        """Return what is told of it."""
        text = orjson.dumps(event.data, option=orjson.OPT_INDENT_2).decode()
        return format_html("<pre>{}</pre>", text)

"""What narrows the list of orders in the back office."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest

from backoffice.pages import PAGE_PARAM
from orders import codepaths
from orders.states import Attention


class AttentionFilter(admin.SimpleListFilter):
    """Orders that somebody should look at, and why."""

    title = "attention"
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return any reason, and each."""
        return [
            ("any", "Any reason"),
            *((why.value, why.value.replace("_", " ").capitalize()) for why in Attention),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow the list: by an index that holds only those that want attention."""
        if not self.value():
            return queryset
        wanting = queryset.exclude(attention="")
        return wanting if self.value() == "any" else wanting.filter(attention=self.value())


class VersionFilter(admin.SimpleListFilter):
    """The version of the code path that took the order."""

    title = "served version"
    parameter_name = "served_version"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the versions that code declares: asking the table would read all of it."""
        return [(name, name) for name in codepaths.place.versions]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow the list."""
        return queryset.filter(served_version=self.value()) if self.value() else queryset


class PlacedFilter(admin.ListFilter):
    """The days, in UTC, between which orders were placed; both belong to it."""

    title = "day placed (UTC)"
    is_range = True
    template = "admin/orders/order/placed_between.html"
    labels = {"placed_from": "From", "placed_to": "To"}

    def __init__(
        self, request: HttpRequest, params: dict[str, list[str]], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        for name in self.labels:
            if name in params:
                self.used_parameters[name] = params.pop(name)[-1]

    def expected_parameters(self) -> list[str | None]:
        """Return the names in the address."""
        return list(self.labels)

    def has_output(self) -> bool:
        """Show the form always."""
        return True

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        """Return the one form: its fields, and what else the address says."""
        others = changelist.params.items()
        yield {
            "fields": [
                {"name": name, "label": label, "value": self.used_parameters.get(name, "")}
                for name, label in self.labels.items()
            ],
            "others": [pair for pair in others if pair[0] not in (*self.labels, PAGE_PARAM)],
        }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow the list."""
        try:
            days = {
                name: datetime.combine(date.fromisoformat(str(text)), time.min, UTC)
                for name, text in self.used_parameters.items()
                if text
            }
            if "placed_to" in days:
                queryset = queryset.filter(placed_at__lt=days["placed_to"] + timedelta(days=1))
        except (ValueError, OverflowError) as failure:
            raise IncorrectLookupParameters from failure
        if "placed_from" in days:
            queryset = queryset.filter(placed_at__gte=days["placed_from"])
        return queryset

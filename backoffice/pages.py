"""Lists that never count, and rows that no form edits."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest

PAGE_PARAM = "before"
# A filter that no index answers looks through so many rows, then it says how far it came.
LOOKED_THROUGH_MAX = 20_000


class Pages(ChangeList):
    """
    A list, newest first, whose next page begins after a row instead of at an OFFSET.

    Nothing is counted, and a page far down costs what the first one does. by: the columns of the
    list's order, descending, the last one unique; an index has them. slow_params: the filters
    that no index answers.
    """

    by: ClassVar[Sequence[str]] = ("id",)
    slow_params: ClassVar[frozenset[str]] = frozenset()

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what narrows the list, which the place where a page begins does not."""
        found = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name != PAGE_PARAM}

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Return the one order there is: an address that asks for another would sort all rows."""
        return [f"-{name}" for name in self.by]

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: list[str | None] | None = None
    ) -> QuerySet[Any]:
        """Return the rows after the place where the page begins."""
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        place = self.params.get(PAGE_PARAM)
        return rows if place is None else rows.filter(self._beyond("lt", self._read(place)))

    def get_results(self, request: HttpRequest) -> None:
        """Read one row more than fits: it tells whether there is a next page."""
        rows, edge = self._look(request)
        self.result_list = rows[: self.list_per_page]
        self.is_first_page = self.params.pop(PAGE_PARAM, None) is None
        self.next_page = None
        self.looked_down_to = None
        if len(rows) > self.list_per_page:
            self.next_page = self._page_after(self.result_list[-1])
        elif edge is not None:
            self.next_page = self._page_after(edge)
            self.looked_down_to = getattr(edge, self.by[0])
        self.first_page = self.get_query_string()
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all = self.multi_page = False
        self.paginator = self.model_admin.get_paginator(request, self.result_list, len(rows) or 1)

    def get_query_string(
        self, new_params: dict[str, Any] | None = None, remove: Iterable[str] | None = None
    ) -> str:
        """Return a query that starts on the first page unless it says otherwise."""
        return super().get_query_string(new_params, [*(remove or []), PAGE_PARAM])

    def _look(self, request: HttpRequest) -> tuple[list[Any], Any]:
        """Return the rows of the page and one more, and the row behind which nobody looked."""
        rows, edge = self.queryset, None
        if not self.slow_params.isdisjoint(self.params):
            edge = self._edge(request)
            if edge is not None:
                rows = rows.filter(self._beyond("gte", [getattr(edge, name) for name in self.by]))
        return list(rows[: self.list_per_page + 1]), edge

    def _edge(self, request: HttpRequest) -> Any:
        """Return the last row that one page looks at; None when it looks at all that follow."""
        looked: Any = self.root_queryset.order_by(*self.get_ordering(request, self.root_queryset))
        for spec in self.filter_specs:
            if getattr(spec, "is_range", False):
                looked = spec.queryset(request, looked)
        if PAGE_PARAM in self.params:
            looked = looked.filter(self._beyond("lt", self._read(self.params[PAGE_PARAM])))
        last = looked.select_related(None).only(*self.by)
        return last[LOOKED_THROUGH_MAX - 1 : LOOKED_THROUGH_MAX].first()

    def _beyond(self, side: str, places: Sequence[Any]) -> Q:
        """
        Return the condition of being after a place (lt), or not after it (gte).

        (a, b) < (x, y) is a < x, or a = x and b < y; said of a alone first, where an index begins.
        """
        strictly = side.removesuffix("e")
        beyond = Q()
        for n, name in enumerate(self.by):
            same = dict(zip(self.by[:n], places[:n], strict=True))
            how = side if n == len(self.by) - 1 else strictly
            beyond |= Q(**same, **{f"{name}__{how}": places[n]})
        if len(self.by) == 1:
            return beyond
        return Q(**{f"{self.by[0]}__{strictly}e": places[0]}) & beyond

    def _page_after(self, row: Any) -> str:
        place = "~".join(str(getattr(row, name)) for name in self.by)
        return self.get_query_string({PAGE_PARAM: place})

    def _read(self, place: str) -> list[Any]:
        try:
            fields: list[Any] = [self.lookup_opts.get_field(name) for name in self.by]
            texts = place.split("~")
            return [field.to_python(text) for field, text in zip(fields, texts, strict=True)]
        except (ValueError, ValidationError) as failure:
            raise IncorrectLookupParameters from failure


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows to read, never to add, change or delete in a form."""

    list_per_page = 100
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # Facets count.
    sortable_by = ()
    actions = None
    change_list_template: ClassVar[Any] = "admin/backoffice/change_list.html"
    pages: type[Pages] = Pages

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that never counts."""
        return self.pages

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: rows come by use cases."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: Django saves every column, and would undo what happened meanwhile."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: what was is kept."""
        return False

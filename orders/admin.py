"""The back office of orders: read-only; what changes an order is a use case."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join

from inventory.usecases import list_order_movements, money_text
from orders import codepaths, usecases
from orders.models import Order

PAGE_PARAM = "id__lt"
NUMBER_MAX = 2**63 - 1
EVENTS_MAX = 100


class Pages(ChangeList):
    """
    A list by id, newest first, whose next page begins after a row instead of at an OFFSET.

    Nothing is counted, and a page far down costs what the first one does.
    """

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Return the one order there is: an address that asks for another would sort all rows."""
        return ["-id"]

    def get_results(self, request: HttpRequest) -> None:
        """Read one row more than fits: it tells whether there is a next page."""
        rows = list(self.queryset[: self.list_per_page + 1])
        self.result_list = rows[: self.list_per_page]
        self.is_first_page = self.params.pop(PAGE_PARAM, None) is None
        self.next_page = None
        if len(rows) > self.list_per_page:
            self.next_page = self.get_query_string({PAGE_PARAM: self.result_list[-1].pk})
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

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
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


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Orders, newest first, and all that is known of one."""

    list_display = (
        *("number", "placed", "status", "payment", "fulfillment", "customer", "reference"),
        *("total", "account", "served_version"),
    )
    list_filter = ("status", VersionFilter, PlacedFilter)
    list_select_related = ("account",)
    list_per_page = 100
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # Facets count.
    sortable_by = ()
    actions = None
    search_fields = ("number",)  # Shows the box; get_search_results says what it finds.
    search_help_text = "A number, an id, a reference or a customer, in full."
    fieldsets = (
        (None, {"fields": (("status", "payment_status", "fulfillment_status"), "id")}),
        ("Buyer", {"fields": (("customer", "reference", "account"), "address", "metadata")}),
        (
            "How it was taken",
            {
                "fields": (
                    ("placed", "updated", "version"),
                    ("served_version", "rules_generation", "trace_id"),
                )
            },
        ),
    )
    readonly_fields = ("address", "placed", "updated")

    @admin.display(description="payment")
    def payment(self, order: Order) -> str:
        """Return the state of payment, under a short heading."""
        return order.get_payment_status_display()

    @admin.display(description="fulfillment")
    def fulfillment(self, order: Order) -> str:
        """Return the state of fulfillment, under a short heading."""
        return order.get_fulfillment_status_display()

    @admin.display(description="total")
    def total(self, order: Order) -> str:
        """Return the total as people read it."""
        return money_text(order.total_minor, order.currency)

    @admin.display(description="placed at (UTC)")
    def placed(self, order: Order) -> str:
        """Return when it was placed."""
        return f"{order.placed_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="updated at (UTC)")
    def updated(self, order: Order) -> str:
        """Return when it last changed."""
        return f"{order.updated_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="ship to", empty_value="-")
    def address(self, order: Order) -> str | None:
        """Return where it goes, as one writes it on a parcel."""
        return format_html_join(", ", "{}", ((part,) for part in _address_of(order))) or None

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that never counts."""
        return Pages

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow what the page offers: an address could else ask for any column, unindexed."""
        filters = ("status__exact", VersionFilter.parameter_name, *PlacedFilter.labels)
        return lookup in (PAGE_PARAM, *filters)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Order], search_term: str
    ) -> tuple[QuerySet[Order], bool]:
        """Find orders by what names them, in full: each is answered by an index."""
        term = search_term.strip()
        return (queryset.filter(_named(term)) if term else queryset), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: orders are placed by their use case."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        """Refuse: Django saves every column, and would undo what happened meanwhile."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        """Refuse: what was ordered is kept."""
        return False

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show an order with its lines, its timeline and the stock it moved."""
        order = self.get_object(request, object_id)
        context = {} if order is None else _story_of(order)
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))


def _named(term: str) -> Q:
    # Every index on customers and references begins with the account, and accounts are few: ask
    # for each of them rather than keep two more indexes on every order that is placed.
    accounts = list(get_user_model()._default_manager.values_list("pk", flat=True))
    named = Q(account__in=accounts, customer=term) | Q(account__in=accounts, reference=term)
    if term.isascii() and term.isdecimal() and int(term) <= NUMBER_MAX:
        named |= Q(number=int(term))
    with suppress(ValueError):
        named |= Q(pk=UUID(term))
    return named


def _address_of(order: Order) -> list[str]:
    to = order.ship_to or {}
    parts = [to.get("name"), *to.get("lines", ()), to.get("postal_code"), to.get("city")]
    return [str(part) for part in (*parts, to.get("country")) if part]


def _story_of(order: Order) -> dict[str, Any]:
    events, more = usecases.list_timeline(order.pk, account_id=None, limit=EVENTS_MAX)
    lines = order.lines.order_by("position")
    return {
        "lines": [
            {
                "position": line.position,
                "sku": line.sku,
                "quantity": f"{line.quantity:,}",
                "unit_price": money_text(line.unit_price_minor, order.currency),
                "total": money_text(line.total_minor, order.currency),
            }
            for line in lines
        ],
        "charges": [
            {**charge, "amount": money_text(charge["amount_minor"], order.currency)}
            for charge in order.charges
        ],
        "total": money_text(order.total_minor, order.currency),
        "timeline": events,
        "has_more_events": more is not None,
        "movements": list_order_movements(order.pk),
    }

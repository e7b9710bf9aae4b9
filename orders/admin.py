"""The back office of orders: read-only; what changes an order is a form that asks a use case."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join

from backoffice.acts import ActAdmin
from backoffice.pages import Pages
from backoffice.tables import Table
from config.errors import AppError
from events.usecases import Event, EventsError
from inventory.usecases import list_order_allocations, list_order_movements, money_text
from orders import usecases
from orders.filters import AttentionFilter, PlacedFilter, VersionFilter
from orders.forms import FORMS
from orders.models import Order

NUMBER_MAX = 2**63 - 1
EVENTS_MAX = 100
# What no index answers for all accounts: the list looks through so many orders at a time.
SLOW_FILTERS = ("status__exact", "payment_status__exact", "fulfillment_status__exact")


class OrderPages(Pages):
    """Orders as they were placed: imported ones stand where they belong."""

    by = ("placed_at", "id")
    slow_params = frozenset((*SLOW_FILTERS, VersionFilter.parameter_name))


@admin.register(Order)
class OrderAdmin(ActAdmin):
    """Orders, newest first, all that is known of one, and what may be done to it."""

    acts = FORMS
    refusals = (AppError, EventsError)
    pages = OrderPages
    change_form_template = "admin/orders/order/change_form.html"
    list_display = (
        *("number", "placed", "status", "payment", "fulfillment", "attention", "customer"),
        *("reference", "total", "account", "served_version"),
    )
    list_filter = (
        *("status", "payment_status", "fulfillment_status"),
        *(AttentionFilter, VersionFilter, PlacedFilter),
    )
    list_select_related = ("account",)
    search_fields = ("number",)  # Shows the box; get_search_results says what it finds.
    search_help_text = "A number, an id, a reference or a customer, in full."
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("status", "payment_status", "fulfillment_status", "attention"),
                    ("authorized", "captured", "refunded", "due"),
                    "id",
                )
            },
        ),
        ("Buyer", {"fields": (("customer", "reference", "account"), "address", "metadata")}),
        (
            "How it was taken",
            {
                "fields": (
                    ("placed", "updated", "pay_before", "version"),
                    ("served_version", "rules_generation", "trace_id"),
                )
            },
        ),
    )
    readonly_fields = (
        *("address", "placed", "updated"),
        *("authorized", "captured", "refunded", "due"),
    )

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

    @admin.display(description="authorized")
    def authorized(self, order: Order) -> str:
        """Return what was promised."""
        return money_text(order.authorized_minor, order.currency)

    @admin.display(description="captured")
    def captured(self, order: Order) -> str:
        """Return what was paid."""
        return money_text(order.captured_minor, order.currency)

    @admin.display(description="refunded")
    def refunded(self, order: Order) -> str:
        """Return what was given back."""
        return money_text(order.refunded_minor, order.currency)

    @admin.display(description="due")
    def due(self, order: Order) -> str:
        """Return what the buyer owes in all."""
        return money_text(order.state.due_minor, order.currency)

    @admin.display(description="placed at (UTC)")
    def placed(self, order: Order) -> str:
        """Return when it was placed."""
        return f"{order.placed_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="updated at (UTC)")
    def updated(self, order: Order) -> str:
        """Return when it last changed."""
        return f"{order.updated_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="ship to")
    def address(self, order: Order) -> str:
        """Return where it goes, as one writes it on a parcel."""
        return format_html_join(", ", "{}", ((part,) for part in _address_of(order))) or "-"

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow what the page offers: an address could else ask for any column, unindexed."""
        own = (AttentionFilter.parameter_name, VersionFilter.parameter_name, *PlacedFilter.labels)
        return lookup in (*SLOW_FILTERS, *own)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Order], search_term: str
    ) -> tuple[QuerySet[Order], bool]:
        """Find orders by what names them, in full: each is answered by an index."""
        term = search_term.strip()
        return (queryset.filter(_named(term)) if term else queryset), False

    def story_of(self, request: HttpRequest, row: Order) -> dict[str, Any]:
        """Return its lines, its money, its notes, its timeline and the stock it moved."""
        return {
            "tables": [_lines(row), _allocations(row), _payments(row), _notes(row), _timeline(row)],
            "movements": list_order_movements(row.pk),
        }


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


def _lines(order: Order) -> Table:
    def money(minor: int) -> str:
        return money_text(minor, order.currency)

    units = ("Quantity", "Open", "Sent", "Returned", "Cancelled", "Waited for")
    numbers = ("#", "Unit price", *units, "Total")
    rows: list[list[Any]] = [
        [
            *(line.position + 1, line.sku, money(line.unit_price_minor), line.quantity),
            *(line.state.open, line.fulfilled_quantity, line.returned_quantity),
            *(line.cancelled_quantity, line.backordered, money(line.total_minor)),
        ]
        for line in order.lines.order_by("position")
    ]
    blank = [""] * len(units)
    rows += [
        ["", charge["code"], charge["name"], *blank, money(charge["amount_minor"])]
        for charge in order.charges
    ]
    rows.append(["", "Total", "", *blank, money(order.total_minor)])
    return Table("lines", "Lines", ("#", "SKU", "Unit price", *units, "Total"), rows, numbers)


def _allocations(order: Order) -> Table:
    units = ("Allocated", "Of these not there", "Sent", "Let go")
    rows = [
        [
            *(promised.level.sku.code, promised.level.location.code),
            promised.units - promised.shipped_units - promised.released_units,
            *(promised.waiting_units, promised.shipped_units, promised.released_units),
        ]
        for promised in list_order_allocations(order.pk)
    ]
    title = "Where its units are"
    return Table("allocations", title, ("SKU", "Location", *units), rows, units)


def _payments(order: Order) -> Table:
    rows = [
        [
            *(f"{paid.recorded_at:%Y-%m-%d %H:%M:%S}", paid.kind),
            *(money_text(paid.amount_minor, paid.currency), paid.provider, paid.provider_event_id),
        ]
        for paid in order.payment_events.order_by("id")[:EVENTS_MAX]
    ]
    headings = ("At", "Kind", "Amount", "Provider", "Its event")
    return Table("payments", "Payments", headings, rows, ("Amount",))


def _notes(order: Order) -> Table:
    notes, _ = usecases.list_notes(order.pk, account_id=None, limit=EVENTS_MAX)
    rows = [
        [f"{note.written_at:%Y-%m-%d %H:%M:%S}", note.author, note.text, note.order_version]
        for note in notes
    ]
    return Table("notes", "Notes", ("At", "Who", "Note", "Version"), rows, ("Version",))


def _timeline(order: Order) -> Table:
    events, more = usecases.list_timeline(order.pk, account_id=None, limit=EVENTS_MAX)
    rows = [
        [
            *(f"{event.occurred_at:%Y-%m-%d %H:%M:%S}", event.type, event.aggregate_version),
            *(_what(event), event.data.get("actor", "")),
        ]
        for event in events
    ]
    headings = ("At", "What happened", "Version", "More", "Who")
    note = f"The first {len(events)} are shown." if more is not None else ""
    return Table("timeline", "Timeline", headings, rows, ("Version",), note=note)


def _what(event: Event) -> str:
    """Return what an event tells besides its type, in a few words."""
    told = event.data
    if event.type == "order.placed":
        return ""
    lines = [f"{line['quantity']} x {line['sku']}" for line in told.get("lines", ())]
    why = [str(told[name]) for name in ("reason", "parcel", "provider_event_id") if told.get(name)]
    return ", ".join([*lines, *why])

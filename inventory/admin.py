"""The back office of stock: SKUs are kept here; counters move by actions with a reason, only."""

from collections.abc import Iterable
from functools import partial
from typing import Any, get_args
from uuid import uuid4

import orjson
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from config.errors import AppError
from events.usecases import Answer, EventsError, IdempotencyKeyReused
from inventory import usecases
from inventory.forms import FORMS, MovementForm, SkuForm
from inventory.models import Location, Movement, Sku, StockLevel
from inventory.rules import MovementKind
from inventory.usecases import Provenance

PAGE_PARAM = "id__lt"
LEVEL_PARAM = "level__id__exact"
LEDGER_ROWS = 20
COUNTERS = (
    *("on_hand", "unavailable", "safety", "held", "allocated", "available"),
    *("shortfall", "incoming", "backorder_limit"),
)


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


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows to read, never to add, change or delete in a form."""

    list_per_page = 100
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # Facets count.
    sortable_by = ()
    actions = None

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that never counts."""
        return Pages

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: rows come by use cases."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: Django saves every column, and would undo what happened meanwhile."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: what was is kept."""
        return False


@admin.register(Sku)
class SkuAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What is sold. Saved by the use cases, never deleted: orders and the ledger name it."""

    form = SkuForm
    list_display = ("code", "name", "price", "is_active", "is_tracked")
    list_filter = ("is_active", "is_tracked")
    list_per_page = 100
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    actions = None
    # startswith, unlike istartswith, is answered by the index that Django gives a unique text.
    search_fields = ("code__startswith",)
    search_help_text = "The beginning of a code, in its own upper and lower case."

    @admin.display(description="price")
    def price(self, sku: Sku) -> str:
        """Return the price as people read it."""
        return usecases.money_text(sku.price_minor, sku.currency)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that never counts."""
        return Pages

    def get_readonly_fields(self, request: HttpRequest, obj: Sku | None = None) -> tuple[str, ...]:
        """Return what is decided once: the code, and whether stock runs out."""
        return ("code", "is_tracked", "created_at", "updated_at") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Sku | None = None) -> bool:
        """Refuse: a SKU that is no longer sold is not active."""
        return False

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show or save a SKU; what a use case refuses comes back as a message."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except AppError as refusal:
            self.message_user(request, f"Nothing was saved: {refusal}", messages.WARNING)
            return redirect(request.path)

    def save_model(self, request: HttpRequest, obj: Sku, form: SkuForm, change: bool) -> None:
        """Ask the use case; write only what was changed, so that two people undo nothing."""
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        if not change:
            obj.pk = usecases.add_sku(**form.cleaned_data).pk
        elif values:
            usecases.change_sku(obj.code, **values)


@admin.register(Location)
class LocationAdmin(ReadOnlyAdmin):
    """Places where stock lies."""

    list_display = ("code", "name")


class StockFilter(admin.SimpleListFilter):
    """The levels that want somebody's attention."""

    title = "stock"
    parameter_name = "stock"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the two states that are worth a look."""
        return [("none", "Nothing available"), ("shortfall", "Promised more than there is")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow the list."""
        if self.value() == "none":
            promised = F("unavailable") + F("safety") + F("held") + F("allocated")
            return queryset.filter(on_hand__lte=promised)
        return queryset.filter(shortfall__gt=0) if self.value() == "shortfall" else queryset


@admin.register(StockLevel)
class StockLevelAdmin(ReadOnlyAdmin):
    """Levels, read-only; receive, adjust and count ask the use cases and write to the ledger."""

    list_display = (
        *("sku", "location", "on_hand", "held", "allocated", "available", "shortfall", "safety"),
    )
    list_filter = (StockFilter,)
    list_select_related = ("sku", "location")
    search_fields = ("sku__code__startswith",)
    search_help_text = "The beginning of a SKU's code, in its own upper and lower case."
    fields = readonly_fields = ("sold_as",)

    @admin.display(description="sold as")
    def sold_as(self, level: StockLevel) -> str:
        """Return the name and the price of the SKU."""
        sku = level.sku
        return f"{sku.name}, {usecases.money_text(sku.price_minor, sku.currency)}"

    def get_queryset(self, request: HttpRequest) -> QuerySet[StockLevel]:
        """Return the levels of SKUs whose stock runs out."""
        levels: QuerySet[StockLevel] = super().get_queryset(request)
        return levels.filter(sku__is_tracked=True).select_related("sku", "location")

    def get_urls(self) -> list[URLPattern]:
        """Add a page for each way to move a level."""
        guard = self.admin_site.admin_view
        return [
            *(
                path(
                    f"<int:level_id>/{form.verb.lower()}/",
                    guard(partial(self.move_view, form=form)),
                    name=_name_of_page(form).removeprefix("admin:"),
                )
                for form in FORMS
            ),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show a level, what made it so, and the ways to move it to those who may."""
        level = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if level is not None:
            context["counters"] = [
                {"name": name, "label": name.replace("_", " "), "units": getattr(level, name)}
                for name in COUNTERS
            ]
            context["ways"] = [
                (form.verb, reverse(_name_of_page(form), args=[level.pk]))
                for form in FORMS
                if request.user.has_perm(form.permission)
            ]
            context["movements"], _ = usecases.list_movements(
                level.sku.code, location=level.location.code, limit=LEDGER_ROWS
            )
        return super().change_view(request, object_id, form_url, context)

    def move_view(
        self, request: HttpRequest, level_id: int, form: type[MovementForm]
    ) -> HttpResponse:
        """Ask what to move and why; then move it once, however often the form is sent."""
        level = self._get_level(request, level_id, form.permission)
        initial = {"key": uuid4(), "expected_on_hand": level.on_hand}
        asked = form(request.POST if request.method == "POST" else None, initial=initial)
        if not asked.is_valid():
            return self._ask(request, level, asked)
        try:
            answer = asked.move(
                request=asked.keyed(request),
                sku=level.sku.code,
                location=level.location.code,
                provenance=_provenance(request),
                now=timezone.now(),
            )
        except (AppError, EventsError) as refusal:
            return self._refuse(request, level, asked, refusal)
        return self._tell(request, level, asked, answer)

    def _get_level(self, request: HttpRequest, level_id: int, permission: str) -> StockLevel:
        if not request.user.has_perm(permission):
            raise PermissionDenied
        level: StockLevel | None = self.get_object(request, str(level_id))
        if level is None:
            raise Http404
        return level

    def _ask(self, request: HttpRequest, level: StockLevel, form: MovementForm) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{form.verb} {level}",
            "level": level,
            "form": form,
        }
        return TemplateResponse(request, "admin/inventory/stocklevel/move.html", context)

    def _refuse(
        self,
        request: HttpRequest,
        level: StockLevel,
        form: MovementForm,
        refusal: AppError | EventsError,
    ) -> HttpResponse:
        if refusal.retryable:
            # The same form has the same key: whatever became of it, it is booked once.
            form.add_error(None, f"{refusal} Send this form again: it is booked once.")
            return self._ask(request, level, form)
        why = str(refusal)
        if isinstance(refusal, IdempotencyKeyReused):
            why = "this form was sent before with other values. Begin with a new one."
        self.message_user(request, f"Nothing was moved: {why}", messages.WARNING)
        return redirect("admin:inventory_stocklevel_change", level.pk)

    def _tell(
        self, request: HttpRequest, level: StockLevel, form: MovementForm, answer: Answer
    ) -> HttpResponse:
        booked = orjson.loads(answer.body)
        why = booked["reason"] or booked["reference"]
        told = f"{form.verb}: {booked['on_hand_change']:+,} to {booked['on_hand']:,} ({why})"
        if answer.is_replayed:
            self.message_user(request, f"This was booked already. {told}", messages.INFO)
        else:
            # After the fact: the use case's transaction is its own. The ledger has the actor too.
            self.log_change(request, level, told)
            self.message_user(request, f"{level}: {told}", messages.SUCCESS)
        return redirect("admin:inventory_stocklevel_change", level.pk)


class KindFilter(admin.SimpleListFilter):
    """Kinds of movement, within one level: in the whole ledger a rare kind has no index."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the kinds that the ledger knows, none outside a level."""
        kinds = get_args(MovementKind) if LEVEL_PARAM in request.GET else ()
        return [(kind, kind) for kind in kinds]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow the list."""
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(Movement)
class MovementAdmin(ReadOnlyAdmin):
    """The ledger, newest first."""

    list_display = (
        *("moved_at", "sku", "kind", "change", "on_hand_after", "allocated_after"),
        *("why", "order_id", "actor", "source"),
    )
    list_filter = (KindFilter,)
    list_select_related = ("level__sku", "level__location")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow what an index answers."""
        return lookup in (PAGE_PARAM, LEVEL_PARAM, KindFilter.parameter_name)

    @admin.display(description="at (UTC)")
    def moved_at(self, movement: Movement) -> str:
        """Return when it moved."""
        return f"{movement.created_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="SKU")
    def sku(self, movement: Movement) -> str:
        """Return what moved, and where."""
        return str(movement.level)

    @admin.display(description="change")
    def change(self, movement: Movement) -> str:
        """Return the counters that changed."""
        return movement.change_text

    @admin.display(description="why")
    def why(self, movement: Movement) -> str:
        """Return the reason and the reference."""
        return f"{movement.reason} {movement.reference}".strip()


def _name_of_page(form: type[MovementForm]) -> str:
    return f"admin:inventory_stocklevel_{form.verb.lower()}"


def _provenance(request: HttpRequest) -> Provenance:
    return Provenance(
        actor=request.user.get_username(),
        source="admin",
        trace_id=getattr(request, "trace_id", ""),
    )

"""The back office of stock: SKUs are kept here; counters move by actions with a reason, only."""

from typing import Any, get_args

from django.contrib import admin, messages
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from backoffice.acts import ActAdmin
from backoffice.pages import ReadOnlyAdmin
from config.errors import AppError
from inventory import storage, usecases
from inventory.admin.asked import REFUSALS
from inventory.admin.stock_forms import LEVEL_FORMS, LocationForm, SkuForm
from inventory.models import Location, Movement, Sku, StockLevel
from inventory.rules import MovementKind

LEVEL_PARAM = "level__id__exact"
LEDGER_ROWS = 20
COUNTERS = (
    *("on_hand", "unavailable", "safety", "held", "allocated", "available"),
    *("shortfall", "incoming", "backorder_limit"),
)


class KeptAdmin(ReadOnlyAdmin):
    """Rows that people keep: saved by the use cases, never deleted."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Allow it to whoever may."""
        return request.user.has_perm(f"inventory.add_{self.opts.model_name}")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow it to whoever may: what is saved is what was changed, by the use case."""
        return request.user.has_perm(f"inventory.change_{self.opts.model_name}")

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show or save a row; what a use case refuses comes back as a message."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except AppError as refusal:
            self.message_user(request, f"Nothing was saved: {refusal}", messages.WARNING)
            return redirect(request.path)


@admin.register(Sku)
class SkuAdmin(KeptAdmin):
    """What is sold. Saved by the use cases, never deleted: orders and the ledger name it."""

    form = SkuForm
    list_display = ("code", "name", "price", "is_active", "is_tracked", "sell_policy")
    list_filter = ("is_active", "is_tracked", "sell_policy")
    # startswith, unlike istartswith, is answered by the index that Django gives a unique text.
    search_fields = ("code__startswith",)
    search_help_text = "The beginning of a code, in its own upper and lower case."

    @admin.display(description="price")
    def price(self, sku: Sku) -> str:
        """Return the price as people read it."""
        return usecases.money_text(sku.price_minor, sku.currency)

    def get_readonly_fields(self, request: HttpRequest, obj: Sku | None = None) -> tuple[str, ...]:
        """Return what is decided once: the code, and whether stock runs out."""
        return ("code", "is_tracked", "created_at", "updated_at") if obj else ()

    def save_model(self, request: HttpRequest, obj: Sku, form: SkuForm, change: bool) -> None:
        """Ask the use case; write only what was changed, so that two people undo nothing."""
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        if not change:
            obj.pk = usecases.add_sku(**form.cleaned_data).pk
        elif values:
            usecases.change_sku(obj.code, **values)


@admin.register(Location)
class LocationAdmin(KeptAdmin):
    """Places where stock lies. Never deleted: one that is not used is not active."""

    form = LocationForm
    list_display = ("code", "name", "priority", "is_active")

    def get_readonly_fields(
        self, request: HttpRequest, obj: Location | None = None
    ) -> tuple[str, ...]:
        """Return what is decided once: the code."""
        return ("code",) if obj else ()

    def save_model(
        self, request: HttpRequest, obj: Location, form: LocationForm, change: bool
    ) -> None:
        """Ask the use case; write only what was changed."""
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        if not change:
            obj.pk = usecases.add_location(**form.cleaned_data).pk
        elif values:
            usecases.change_location(obj.code, **values)


class StockFilter(admin.SimpleListFilter):
    """The levels that want somebody's attention."""

    title = "stock"
    parameter_name = "stock"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states that are worth a look."""
        return [
            *(("low", "Low"), ("none", "Nothing available")),
            *(("shortfall", "Promised more than there is"), ("waiting", "Orders are waiting")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow the list."""
        if self.value() == "none":
            promised = F("unavailable") + F("safety") + F("held") + F("allocated")
            return queryset.filter(on_hand__lte=promised)
        return queryset & storage.list_levels(state=self.value()) if self.value() else queryset


@admin.register(StockLevel)
class StockLevelAdmin(ActAdmin):
    """Levels, read-only; receive, adjust and count ask the use cases and write to the ledger."""

    list_display = (
        *("sku", "location", "on_hand", "held", "allocated", "available", "shortfall", "safety"),
    )
    list_filter = (StockFilter,)
    list_select_related = ("sku", "location")
    search_fields = ("sku__code__startswith",)
    search_help_text = "The beginning of a SKU's code, in its own upper and lower case."
    fields = readonly_fields = ("sold_as", "low_at")
    acts = LEVEL_FORMS
    refusals = REFUSALS
    change_form_template = "admin/inventory/stocklevel/change_form.html"

    @admin.display(description="sold as")
    def sold_as(self, level: StockLevel) -> str:
        """Return the name and the price of the SKU."""
        sku = level.sku
        return f"{sku.name}, {usecases.money_text(sku.price_minor, sku.currency)}"

    def get_queryset(self, request: HttpRequest) -> QuerySet[StockLevel]:
        """Return the levels of SKUs whose stock runs out."""
        levels: QuerySet[StockLevel] = super().get_queryset(request)
        return levels.filter(sku__is_tracked=True).select_related("sku", "location")

    def story_of(self, request: HttpRequest, row: StockLevel) -> dict[str, Any]:
        """Return its counters, and what made them so."""
        counters = [
            {"name": name, "label": name.replace("_", " "), "units": getattr(row, name)}
            for name in COUNTERS
        ]
        movements, _ = usecases.list_movements(
            row.sku.code, location=row.location.code, limit=LEDGER_ROWS
        )
        return {"counters": counters, "movements": movements}


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
        return lookup in (LEVEL_PARAM, KindFilter.parameter_name)

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

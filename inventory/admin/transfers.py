"""Transfers: sent, received with what is missing or too much, or called back."""

from typing import Any

import orjson
from django import forms
from django.contrib import admin
from django.http import HttpRequest

from backoffice.acts import ActAdmin, ActForm, Done
from backoffice.pages import Pages
from inventory import usecases
from inventory.admin.asked import REASON_CHOICES, REFUSALS, asked, location_choices
from inventory.models import Transfer
from inventory.rules import UNITS_MAX

PERMISSION = "inventory.transfer_stock"


class SendForm(ActForm):
    """Units that leave a location for another."""

    verb, permission, is_of_a_row = "Send units", PERMISSION, False
    explanation = "They leave the first location at once, and are incoming at the other."

    sku = forms.CharField(max_length=64, label="SKU")
    quantity = forms.IntegerField(min_value=1, max_value=UNITS_MAX)
    source = forms.ChoiceField(label="From")
    destination = forms.ChoiceField(label="To")
    reference = forms.CharField(max_length=128, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("source", "destination"):
            self.fields[name].choices = location_choices()  # type: ignore[attr-defined]

    def act(self, request: HttpRequest) -> Done:
        """Send them."""
        said = {name: value for name, value in self.cleaned_data.items() if name != "key"}
        answer = usecases.send_transfer(**said, **asked(self, request))
        told = f"{said['quantity']:,} {said['sku']} are under way to {said['destination']}."
        return Done(told, answer.is_replayed, pk=orjson.loads(answer.body)["id"])


class OpenTransferForm(ActForm):
    """Something done to a transfer that is under way."""

    permission = PERMISSION

    @classmethod
    def is_possible(cls, row: Transfer) -> bool:
        """Test whether something is under way."""
        return row.closed_at is None

    def facts(self) -> list[tuple[str, Any]]:
        """Return what is under way, and where."""
        transfer: Transfer = self.row
        return [
            *(("SKU", transfer.sku.code), ("Sent", f"{transfer.units:,}")),
            *(("Under way", f"{transfer.under_way_units:,}"), ("From", transfer.source.code)),
            ("To", transfer.destination.code),
        ]


class ArriveForm(OpenTransferForm):
    """What arrived, and what did not."""

    verb = "Receive units"
    explanation = (
        "What is missing when nothing more will come is written off, and what came too much is "
        "put on hand; both want a reason."
    )

    quantity = forms.IntegerField(min_value=0, max_value=UNITS_MAX, label="Arrived")
    is_last = forms.BooleanField(required=False, initial=True, label="Nothing more will come")
    reason = forms.ChoiceField(choices=REASON_CHOICES, required=False)
    note = forms.CharField(max_length=255, required=False)

    @classmethod
    def first_values(cls, row: Transfer) -> dict[str, Any]:
        """Propose that all of it arrived."""
        return {"quantity": row.under_way_units}

    def act(self, request: HttpRequest) -> Done:
        """Receive it."""
        said = {name: value for name, value in self.cleaned_data.items() if name != "key"}
        answer = usecases.receive_transfer(transfer_id=self.row.pk, **said, **asked(self, request))
        told = orjson.loads(answer.body)
        lost = f", {told['missing']:,} missing" if told["missing"] else ""
        more = f", {told['surplus']:,} too much" if told["surplus"] else ""
        return Done(f"{said['quantity']:,} arrived{lost}{more}.", answer.is_replayed)


class CallBackForm(OpenTransferForm):
    """What is under way goes back."""

    verb = "Call back"
    explanation = "What is still under way is put back where it came from."

    note = forms.CharField(max_length=255, label="Why")

    def act(self, request: HttpRequest) -> Done:
        """Call it back."""
        note = self.cleaned_data["note"]
        answer = usecases.cancel_transfer(
            transfer_id=self.row.pk, note=note, **asked(self, request)
        )
        return Done(f"What was under way is back ({note}).", answer.is_replayed)


class UnderWayFilter(admin.SimpleListFilter):
    """What is under way, or was."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return both."""
        return [("open", "Under way"), ("closed", "Closed")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Narrow the list."""
        if not self.value():
            return queryset
        return queryset.filter(closed_at__isnull=self.value() == "open")


class TransferPages(Pages):
    """Transfers, newest first."""

    slow_params = frozenset({UnderWayFilter.parameter_name})


@admin.register(Transfer)
class TransferAdmin(ActAdmin):
    """What is on its way between locations, and what became of it."""

    acts = (SendForm, ArriveForm, CallBackForm)
    refusals = REFUSALS
    pages = TransferPages
    list_display = ("id", "sku", "units", "under_way", "source", "destination", "sent", "actor")
    list_filter = (UnderWayFilter,)
    list_select_related = ("sku", "source", "destination")
    fields = readonly_fields = (
        *("id", "sku", "source", "destination", "units", "under_way", "received_units"),
        *("returned_units", "missing_units", "surplus_units", "reference", "note", "actor"),
        *("sent", "closed_at"),
    )

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow what the page offers."""
        return lookup == UnderWayFilter.parameter_name

    @admin.display(description="under way")
    def under_way(self, transfer: Transfer) -> str:
        """Return the units of which nothing is known yet."""
        return f"{transfer.under_way_units:,}"

    @admin.display(description="sent at (UTC)")
    def sent(self, transfer: Transfer) -> str:
        """Return when it was sent."""
        return f"{transfer.created_at:%Y-%m-%d %H:%M:%S}"

"""What people say of SKUs and stock, in the back office."""

from typing import Any

import orjson
from django import forms
from django.core.validators import RegexValidator
from django.http import HttpRequest
from django.utils import timezone

from backoffice.acts import ActForm, Done
from events.usecases import Answer
from inventory import usecases
from inventory.admin.asked import REASON_CHOICES, asked, provenance_of
from inventory.iso import CURRENCIES
from inventory.models import Location, Sku, StockLevel
from inventory.rules import CONTROL_CHARACTERS, PRICE_MINOR_MAX, REASONS, SKU_CODE, UNITS_MAX

is_printable = RegexValidator(
    f"[{CONTROL_CHARACTERS}]",
    "No control characters: they break files and labels.",
    inverse_match=True,
)


class SkuForm(forms.ModelForm):  # type: ignore[type-arg]
    """A SKU, with the bounds that the API has."""

    code = forms.RegexField(
        SKU_CODE.pattern + r"\Z",
        max_length=64,
        help_text="1 to 64 of A-Z a-z 0-9 . _ - and never changed afterwards.",
    )
    price_minor = forms.IntegerField(
        min_value=0,
        max_value=PRICE_MINOR_MAX,
        label="Price in minor units",
        help_text="250 is 2.50 EUR. Orders placed before keep their prices.",
    )
    currency = forms.RegexField(
        r"^[A-Z]{3}\Z", max_length=3, help_text="ISO 4217, for example EUR."
    )

    class Meta:
        model = Sku
        fields = (
            *("code", "name", "price_minor", "currency"),
            *("is_active", "is_tracked", "sell_policy"),
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            # What the page showed travels with it: else what another person saved meanwhile
            # would look like a change of this one, and be undone.
            field.show_hidden_initial = self.instance.pk is not None
        self.fields["name"].validators.append(is_printable)

    def clean_currency(self) -> str:
        """Refuse what is no currency of ISO 4217."""
        currency: str = self.cleaned_data["currency"]
        if currency not in CURRENCIES:
            raise forms.ValidationError(f"{currency} is not a currency of ISO 4217.")
        return currency


class LocationForm(forms.ModelForm):  # type: ignore[type-arg]
    """A location, with the bounds that the API has."""

    code = forms.RegexField(
        r"^[A-Za-z0-9._-]+\Z", max_length=32, help_text="Never changed afterwards."
    )
    priority = forms.IntegerField(
        min_value=-1_000_000,
        max_value=1_000_000,
        initial=0,
        help_text="Orders ask the lowest first.",
    )

    class Meta:
        model = Location
        fields = ("code", "name", "priority", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.show_hidden_initial = self.instance.pk is not None  # As in SkuForm.
        self.fields["name"].validators.append(is_printable)


class LevelForm(ActForm):
    """One movement of a level that a person asks for."""

    def facts(self) -> list[tuple[str, Any]]:
        """Return how the level stands."""
        level: StockLevel = self.row
        return [
            ("Sold as", level.sku.name),
            ("On hand", f"{level.on_hand:,}"),
            ("Unavailable", f"{level.unavailable:,}"),
            ("Held", f"{level.held:,}"),
            ("Allocated", f"{level.allocated:,}"),
            ("Available", f"{level.available:,}"),
        ]

    def common(self, request: HttpRequest) -> dict[str, Any]:
        """Return what every movement of this level is told."""
        return {
            "sku": self.row.sku.code,
            "location": self.row.location.code,
            **asked(self, request),
        }

    def done(self, answer: Answer) -> Done:
        """Return what is told of a movement."""
        booked = orjson.loads(answer.body)
        why = booked["reason"] or booked["reference"]
        change = f"{booked['on_hand_change']:+,} to {booked['on_hand']:,} ({why})"
        return Done(f"{self.row}: {self.verb}: {change}", answer.is_replayed)


class ReceiveForm(LevelForm):
    """Units that came in."""

    verb, permission = "Receive", "inventory.receive_stock"
    explanation = "Units that came in are added to what is on hand."

    quantity = forms.IntegerField(min_value=1, max_value=UNITS_MAX)
    reference = forms.CharField(
        max_length=128, label="Why", help_text="Delivery note, purchase order, or a word."
    )

    def act(self, request: HttpRequest) -> Done:
        """Receive the units."""
        said = self.cleaned_data
        answer = usecases.receive_stock(
            quantity=said["quantity"], reference=said["reference"], **self.common(request)
        )
        return self.done(answer)


class AdjustForm(LevelForm):
    """A correction by a difference."""

    verb, permission = "Adjust", "inventory.adjust_stock"
    explanation = "Corrects what is on hand by a difference: -3 when three broke."

    delta = forms.IntegerField(min_value=-UNITS_MAX, max_value=UNITS_MAX, label="Difference")
    reason = forms.ChoiceField(choices=REASON_CHOICES)

    def clean_delta(self) -> int:
        """Refuse a correction that corrects nothing."""
        delta: int = self.cleaned_data["delta"]
        if delta == 0:
            raise forms.ValidationError("A difference of 0 corrects nothing.")
        return delta

    def act(self, request: HttpRequest) -> Done:
        """Adjust by the difference."""
        said = self.cleaned_data
        answer = usecases.adjust_stock(
            delta=said["delta"], reason=said["reason"], **self.common(request)
        )
        return self.done(answer)


class CountForm(LevelForm):
    """A correction to what was counted, against the number that the form showed."""

    verb, permission = "Count", "inventory.adjust_stock"
    explanation = (
        "Sets what is on hand to what was counted. Refused when something moved the number above "
        "in the meantime: then count again."
    )

    expected_on_hand = forms.IntegerField(
        min_value=0, max_value=UNITS_MAX, widget=forms.HiddenInput
    )
    on_hand = forms.IntegerField(min_value=0, max_value=UNITS_MAX, label="Counted")
    reason = forms.ChoiceField(choices=[(r, r) for r in REASONS], initial="count")

    @classmethod
    def first_values(cls, row: StockLevel) -> dict[str, Any]:
        """Return the number that whoever counts has seen."""
        return {"expected_on_hand": row.on_hand}

    def act(self, request: HttpRequest) -> Done:
        """Set to what was counted."""
        said = self.cleaned_data
        answer = usecases.set_stock(
            on_hand=said["on_hand"],
            expected_on_hand=said["expected_on_hand"],
            reason=said["reason"],
            **self.common(request),
        )
        return self.done(answer)


class QuarantineForm(LevelForm):
    """Units that are there and not sold, or sold again."""

    verb, permission = "Quarantine", "inventory.adjust_stock"
    explanation = "Units that are there but not to be sold: 3 puts three aside, -3 lets them go."

    delta = forms.IntegerField(min_value=-UNITS_MAX, max_value=UNITS_MAX, label="Difference")
    reason = forms.ChoiceField(choices=REASON_CHOICES)
    note = forms.CharField(max_length=255, required=False)

    def clean_delta(self) -> int:
        """Refuse a difference that is none."""
        delta: int = self.cleaned_data["delta"]
        if delta == 0:
            raise forms.ValidationError("A difference of 0 puts nothing aside.")
        return delta

    def act(self, request: HttpRequest) -> Done:
        """Put them aside, or let them go."""
        said = {name: value for name, value in self.cleaned_data.items() if name != "key"}
        answer = usecases.quarantine_stock(**said, **self.common(request))
        aside = orjson.loads(answer.body)["unavailable"]
        told = f"{self.row}: {said['delta']:+,} to {aside:,} in quarantine ({said['reason']})"
        return Done(told, answer.is_replayed)


class PolicyForm(LevelForm):
    """What of a level is not sold, and when it is low. The same twice changes nothing more."""

    verb, permission = "Set limits", "inventory.change_sku"

    safety = forms.IntegerField(
        min_value=0, max_value=UNITS_MAX, label="Safety", help_text="Units that are never promised."
    )
    low_at = forms.IntegerField(
        min_value=0,
        max_value=UNITS_MAX,
        label="Low at",
        help_text="With fewer available it is on the list of what is low; 0 for never.",
    )
    backorder_limit = forms.IntegerField(
        min_value=0,
        max_value=UNITS_MAX,
        label="Backorder limit",
        help_text="So many may be promised that are not there, of a SKU that is sold so.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("safety", "low_at", "backorder_limit"):
            self.fields[name].show_hidden_initial = True  # As in SkuForm.

    @classmethod
    def first_values(cls, row: StockLevel) -> dict[str, Any]:
        """Return the limits as they are."""
        return {name: getattr(row, name) for name in ("safety", "low_at", "backorder_limit")}

    def act(self, request: HttpRequest) -> Done:
        """Set what was changed: two people undo nothing of each other's."""
        changed = {name: self.cleaned_data[name] for name in self.changed_data if name != "key"}
        where = {"location": self.row.location.code, "provenance": provenance_of(request)}
        usecases.set_policy(self.row.sku.code, **where, now=timezone.now(), **changed)
        said = ", ".join(f"{name.replace('_', ' ')} {units:,}" for name, units in changed.items())
        return Done(f"{self.row}: {said or 'nothing was changed'}.")


LEVEL_FORMS: tuple[type[LevelForm], ...] = (
    *(ReceiveForm, AdjustForm, CountForm),
    *(QuarantineForm, PolicyForm),
)

"""What people say of SKUs and stock, in the back office."""

from typing import Any, ClassVar, cast

import orjson
from django import forms
from django.http import HttpRequest

from events.usecases import Answer, KeyedRequest, keyed_request
from inventory import usecases
from inventory.models import Sku
from inventory.rules import PRICE_MINOR_MAX, REASONS, SKU_CODE, UNITS_MAX


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
        fields = ("code", "name", "price_minor", "currency", "is_active", "is_tracked")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            # What the page showed travels with it: else what another person saved meanwhile
            # would look like a change of this one, and be undone.
            field.show_hidden_initial = self.instance.pk is not None


class MovementForm(forms.Form):
    """
    One movement that a person asks for.

    key is made when the form is shown: sent twice, it moves once.
    """

    verb: ClassVar[str]
    permission: ClassVar[str]
    explanation: ClassVar[str]

    key = forms.UUIDField(widget=forms.HiddenInput)

    def keyed(self, request: HttpRequest) -> KeyedRequest:
        """Return the request that this form is, whoever sends it however often."""
        said = {name: str(value) for name, value in self.cleaned_data.items()}
        return keyed_request(
            account_id=cast(int, request.user.pk),
            header=str(self.cleaned_data["key"]),
            method="POST",
            route=request.path,
            canonical_body=orjson.dumps(said, option=orjson.OPT_SORT_KEYS),
            request_id=getattr(request, "request_id", ""),
            trace_id=getattr(request, "trace_id", ""),
        )

    def move(self, **common: Any) -> Answer:
        """Ask the use case for the movement."""
        raise NotImplementedError


class ReceiveForm(MovementForm):
    """Units that came in."""

    verb, permission = "Receive", "inventory.receive_stock"
    explanation = "Units that came in are added to what is on hand."

    quantity = forms.IntegerField(min_value=1, max_value=UNITS_MAX)
    reference = forms.CharField(
        max_length=128, label="Why", help_text="Delivery note, purchase order, or a word."
    )

    def move(self, **common: Any) -> Answer:
        """Receive the units."""
        said = self.cleaned_data
        return usecases.receive_stock(
            quantity=said["quantity"], reference=said["reference"], **common
        )


class AdjustForm(MovementForm):
    """A correction by a difference."""

    verb, permission = "Adjust", "inventory.adjust_stock"
    explanation = "Corrects what is on hand by a difference: -3 when three broke."

    delta = forms.IntegerField(min_value=-UNITS_MAX, max_value=UNITS_MAX, label="Difference")
    reason = forms.ChoiceField(choices=[("", "Choose a reason"), *((r, r) for r in REASONS)])

    def clean_delta(self) -> int:
        """Refuse a correction that corrects nothing."""
        delta: int = self.cleaned_data["delta"]
        if delta == 0:
            raise forms.ValidationError("A difference of 0 corrects nothing.")
        return delta

    def move(self, **common: Any) -> Answer:
        """Adjust by the difference."""
        said = self.cleaned_data
        return usecases.adjust_stock(delta=said["delta"], reason=said["reason"], **common)


class CountForm(MovementForm):
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

    def move(self, **common: Any) -> Answer:
        """Set to what was counted."""
        said = self.cleaned_data
        return usecases.set_stock(
            on_hand=said["on_hand"],
            expected_on_hand=said["expected_on_hand"],
            reason=said["reason"],
            **common,
        )


FORMS: tuple[type[MovementForm], ...] = (ReceiveForm, AdjustForm, CountForm)

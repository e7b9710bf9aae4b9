"""What people ask to have done to an order, in the back office."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest
from django.utils import timezone

from backoffice.acts import ActForm, Done
from events.usecases import Answer, keyed_request
from inventory.usecases import MAIN_LOCATION, Provenance, list_locations, money_text
from orders import usecases
from orders.lifecycle import TRANSITIONS, Action
from orders.models import Order
from orders.states import LineState
from orders.usecases import ChangeRequest, Comeback, Cut, Pick

DISPOSITIONS = [
    ("restock", "Back on the shelf"),
    ("quarantine", "Into quarantine"),
    ("scrap", "To be scrapped"),
]


class OrderForm(ActForm):
    """Something done to an order at the version that the form showed."""

    action: ClassVar[Action]

    version = forms.IntegerField(widget=forms.HiddenInput)

    @classmethod
    def is_possible(cls, row: Order) -> bool:
        """Test whether the order's status allows it."""
        return row.status in TRANSITIONS[cls.action]

    @classmethod
    def first_values(cls, row: Order) -> dict[str, Any]:
        """Return the version that whoever decides has seen."""
        return {"version": row.version}

    def facts(self) -> list[tuple[str, Any]]:
        """Return how the order stands."""
        order: Order = self.row
        return [
            ("Status", order.get_status_display()),
            ("Payment", order.get_payment_status_display()),
            ("Fulfillment", order.get_fulfillment_status_display()),
            ("Total", money_text(order.total_minor, order.currency)),
            ("Customer", order.customer),
        ]

    def change(self, request: HttpRequest) -> ChangeRequest:
        """Return who asks for a change of this order, whoever's it is."""
        return ChangeRequest(
            order_id=self.row.pk,
            account_id=None,
            request=keyed_request(**self.as_request(request)),
            provenance=Provenance(
                actor=request.user.get_username(),
                source="admin",
                trace_id=getattr(request, "trace_id", ""),
            ),
            now=timezone.now(),
            versions=frozenset({self.cleaned_data["version"]}),
        )

    def done(self, answer: Answer, told: str) -> Done:
        """Return what is told of an answer."""
        return Done(f"{self.row}: {told}", answer.is_replayed)


class UnitsForm(OrderForm):
    """
    Something done to units of lines: a row of fields for each line that has any to give.

    columns: a field of each line for each, made by field_of; the first counts units. Every line
    has its fields, shown or not: the same form sent again, when its units are gone, reads as it
    did the first time, and so is told that it was done.
    """

    headings: ClassVar[Sequence[str]]
    columns: ClassVar[Sequence[str]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lines = [line.state for line in self.row.lines.order_by("position")]
        for line in self.lines:
            for column in self.columns:
                self.fields[f"{column}_{line.position}"] = self.field_of(column, line)

    @staticmethod
    def units_of(line: LineState) -> int:
        """Return how many units of a line this can be done to."""
        return line.open

    @classmethod
    def is_possible(cls, row: Order) -> bool:
        """Test whether the status allows it, and there are units to do it to."""
        return super().is_possible(row) and any(
            cls.units_of(line.state) for line in row.lines.all()
        )

    def field_of(self, column: str, line: LineState) -> forms.Field:
        """Return the field of a line in a column; it names the line to those who only hear."""
        field = forms.IntegerField(
            min_value=0, max_value=line.quantity, initial=self.units_of(line), required=False
        )
        field.label = f"{column.capitalize()} of {line.sku}, line {line.position + 1}"
        return labelled(field)

    def table(self) -> tuple[Sequence[str], list[list[Any]]]:
        """Return a row for each line."""
        rows = [
            [
                *(line.position + 1, line.sku, self.units_of(line)),
                *(self[f"{column}_{line.position}"] for column in self.columns),
            ]
            for line in self.lines
            if self.units_of(line)
        ]
        return ("Line", "SKU", "Possible", *self.headings), rows

    def plain_fields(self) -> list[Any]:
        """Return the fields of the form as a whole."""
        own = {f"{column}_{line.position}" for line in self.lines for column in self.columns}
        return [field for field in self.visible_fields() if field.name not in own]

    def said(self, line: LineState, column: str) -> Any:
        """Return what was said of a line, 0 for nothing."""
        return self.cleaned_data[f"{column}_{line.position}"] or 0

    def clean(self) -> dict[str, Any]:
        """Refuse a form that is about no unit at all."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        counts = [name for name in cleaned if name.startswith(("units_", "short_"))]
        if not self.errors and not any(cleaned[name] for name in counts):
            raise forms.ValidationError("Say of one line at least how many units.")
        return cleaned


class CancelForm(UnitsForm):
    """Units that are not wanted any more."""

    verb, permission, action = "Cancel units", "orders.cancel_order", Action.CANCEL
    explanation = (
        "What is cancelled may be sold again. All that is open stands below: lower it to cancel "
        "a part. Money is given back by the provider of payments, not here."
    )
    headings, columns = ("Cancel",), ("units",)

    reason = forms.CharField(max_length=500, label="Why")

    def act(self, request: HttpRequest) -> Done:
        """Cancel them."""
        cuts = [Cut(x.position, n) for x in self.lines if (n := self.said(x, "units"))]
        reason = self.cleaned_data["reason"]
        answer = usecases.cancel_order(self.change(request), cuts=cuts, reason=reason)
        return self.done(answer, f"{counted(cuts)} cancelled ({reason}).")


class FulfillForm(UnitsForm):
    """Units that are sent, and units that nobody found."""

    verb, permission, action = "Fulfil", "orders.fulfill_order", Action.FULFILL
    explanation = (
        "What is sent leaves the stock. What nobody found is cancelled, waits in quarantine until "
        "it is counted, and the order asks for attention."
    )
    headings, columns = ("Send", "Not found"), ("units", "short")

    location = forms.ChoiceField(required=False, label="From")
    reference = forms.CharField(
        max_length=128, required=False, label="Parcel", help_text="What the carrier calls it."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["location"].choices = [  # type: ignore[attr-defined]
            ("", "Wherever they are allocated"),
            *locations(),
        ]

    def field_of(self, column: str, line: LineState) -> forms.Field:
        """Return the field; nothing is short until somebody says so."""
        field = super().field_of(column, line)
        if column == "short":
            field.initial = 0
        return field

    def act(self, request: HttpRequest) -> Done:
        """Send them."""
        said, location = self.said, self.cleaned_data["location"] or None
        picks = [
            Pick(x.position, said(x, "units"), said(x, "short"), location)
            for x in self.lines
            if said(x, "units") or said(x, "short")
        ]
        parcel = self.cleaned_data["reference"]
        answer = usecases.fulfill_order(self.change(request), picks=picks, reference=parcel)
        short = sum(pick.short for pick in picks)
        missing = f", {short:,} not found" if short else ""
        return self.done(answer, f"{counted(picks)} sent{missing}.")


class ReturnForm(UnitsForm):
    """Units that came back."""

    verb, permission, action = "Take back", "orders.return_order", Action.RETURN
    explanation = (
        "Units that were sent and came back, where they are now, and what becomes of them."
    )
    headings, columns = ("Came back", "What becomes of them"), ("units", "fate")

    location = forms.ChoiceField(initial=MAIN_LOCATION, label="They are at")
    reason = forms.CharField(max_length=500, label="Why")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["location"].choices = locations()  # type: ignore[attr-defined]

    @staticmethod
    def units_of(line: LineState) -> int:
        """Return how many of a line's units were sent and did not come back."""
        return line.fulfilled - line.returned

    def field_of(self, column: str, line: LineState) -> forms.Field:
        """Return the field: a return is seldom of everything."""
        if column == "fate":
            field: forms.Field = forms.ChoiceField(choices=DISPOSITIONS, required=False)
            field.label = f"What becomes of {line.sku}, line {line.position + 1}"
            return labelled(field)
        field = super().field_of(column, line)
        field.initial = 0
        return field

    def act(self, request: HttpRequest) -> Done:
        """Take them back."""
        location, reason = self.cleaned_data["location"], self.cleaned_data["reason"]
        comebacks = [
            Comeback(line.position, units, self.said(line, "fate") or "restock", location)
            for line in self.lines
            if (units := self.said(line, "units"))
        ]
        answer = usecases.return_units(self.change(request), comebacks=comebacks, reason=reason)
        return self.done(answer, f"{counted(comebacks)} taken back ({reason}).")


class NoteForm(OrderForm):
    """Something to remember."""

    verb, permission, action = "Add a note", "orders.note_order", Action.NOTE

    text = forms.CharField(max_length=4000, widget=forms.Textarea(attrs={"rows": 4}))
    resolves_attention = forms.BooleanField(
        required=False, label="Settled", help_text="What asked for attention is settled."
    )

    def plain_fields(self) -> list[Any]:
        """Return the text alone when nothing is to be settled."""
        fields = super().plain_fields()
        return fields if self.row.attention else fields[:1]

    def act(self, request: HttpRequest) -> Done:
        """Write it down."""
        resolves = self.cleaned_data["resolves_attention"]
        answer = usecases.add_note(
            self.change(request), text=self.cleaned_data["text"], resolves_attention=resolves
        )
        return self.done(answer, "noted, and settled." if resolves else "noted.")


def labelled(field: forms.Field) -> forms.Field:
    """Return a field that stands in a table, where its label is only heard."""
    field.widget.attrs["aria-label"] = str(field.label)
    return field


def counted(asked: Sequence[Cut | Pick | Comeback]) -> str:
    """Return how many units are asked for, in words."""
    units = sum(ask.units for ask in asked)
    return f"{units:,} unit" if units == 1 else f"{units:,} units"


def locations() -> list[tuple[str, str]]:
    """Return every location, to choose from."""
    return [(place.code, place.name or place.code) for place in list_locations()]


FORMS: tuple[type[OrderForm], ...] = (FulfillForm, CancelForm, ReturnForm, NoteForm)

"""Stocktakes: opened, counted line by line, looked at, and approved by somebody."""

from collections.abc import Sequence
from typing import Any

import orjson
from django import forms
from django.contrib import admin
from django.http import HttpRequest

from backoffice.acts import ActAdmin, ActForm, Done
from backoffice.tables import Table
from inventory import usecases
from inventory.admin.asked import REFUSALS, asked, location_choices
from inventory.models import Stocktake, StocktakeLine
from inventory.rules import MAIN_LOCATION, UNITS_MAX

COUNT, APPROVE = "inventory.count_stock", "inventory.approve_stocktake"


class OpenForm(ActForm):
    """A count that begins."""

    verb, permission, is_of_a_row = "Begin a stocktake", COUNT, False
    explanation = "Sales go on meanwhile: each count is held against the books at its own moment."

    location = forms.ChoiceField(initial=MAIN_LOCATION)
    code_begins = forms.CharField(
        max_length=64, required=False, label="SKUs that begin with", help_text="Empty for all."
    )
    reference = forms.CharField(max_length=128, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["location"].choices = location_choices()  # type: ignore[attr-defined]

    def act(self, request: HttpRequest) -> Done:
        """Begin it."""
        said = self.cleaned_data
        answer = usecases.open_stocktake(
            location=said["location"],
            prefix=said["code_begins"],
            reference=said["reference"],
            **asked(self, request),
        )
        begun = orjson.loads(answer.body)
        told = f"{len(begun['lines']):,} SKUs are to be counted at {begun['location']}."
        return Done(told, answer.is_replayed, pk=begun["id"])


class OpenStocktakeForm(ActForm):
    """Something done to a stocktake that is open."""

    permission = COUNT

    @classmethod
    def is_possible(cls, row: Stocktake) -> bool:
        """Test whether it is open."""
        return row.status == Stocktake.Status.OPEN


class CountLinesForm(OpenStocktakeForm):
    """What was counted, for as many SKUs as one likes."""

    verb = "Enter counts"
    explanation = "What is left empty was not counted. A SKU counted again replaces its count."

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lines = lines_of(self.row)
        for line in self.lines:
            field = forms.IntegerField(min_value=0, max_value=UNITS_MAX, required=False)
            field.widget.attrs["aria-label"] = f"Counted of {line.level.sku.code}"
            self.fields[name_of(line)] = field

    def table(self) -> tuple[Sequence[str], list[list[Any]]]:
        """Return a row for each SKU; what should be there is not shown to whoever counts."""
        rows = [
            [
                line.level.sku.code,
                line.level.sku.name,
                _or_dash(line.counted_units),
                self[name_of(line)],
            ]
            for line in self.lines
        ]
        return ("SKU", "Name", "Counted before", "Counted"), rows

    def plain_fields(self) -> list[Any]:
        """Return none: all stand in the table."""
        return []

    def counts(self) -> dict[str, int]:
        """Return what was counted, by SKU."""
        said = {line.level.sku.code: self.cleaned_data.get(name_of(line)) for line in self.lines}
        return {sku: units for sku, units in said.items() if units is not None}

    def clean(self) -> dict[str, Any]:
        """Refuse a form in which nothing was counted."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors and not self.counts():
            raise forms.ValidationError("Enter one count at least.")
        return cleaned

    def act(self, request: HttpRequest) -> Done:
        """Enter them."""
        counts = self.counts()
        answer = usecases.count_lines(
            stocktake_id=self.row.pk, counted=counts, **asked(self, request)
        )
        return Done(f"{len(counts):,} counted.", answer.is_replayed)


class ApproveForm(OpenStocktakeForm):
    """What was counted becomes what is there."""

    verb, permission = "Approve", APPROVE
    explanation = (
        "Every difference is booked, as one movement each. What nobody counted stays as it is."
    )

    note = forms.CharField(max_length=255, required=False)

    def table(self) -> tuple[Sequence[str], list[list[Any]]]:
        """Return the differences."""
        return HEADINGS, [row for line, row in told_of(lines_of(self.row)) if line.variance]

    def act(self, request: HttpRequest) -> Done:
        """Book the differences."""
        answer = usecases.approve_stocktake(
            stocktake_id=self.row.pk, note=self.cleaned_data["note"], **asked(self, request)
        )
        return Done("The stocktake is approved, its differences are booked.", answer.is_replayed)


class AbandonForm(OpenStocktakeForm):
    """A count that comes to nothing."""

    verb = "Abandon"
    explanation = "The stocktake is closed, and nothing is booked."

    def act(self, request: HttpRequest) -> Done:
        """Close it."""
        answer = usecases.cancel_stocktake(stocktake_id=self.row.pk, **asked(self, request))
        return Done("The stocktake is closed. Nothing was booked.", answer.is_replayed)


HEADINGS = ("SKU", "At the beginning", "Books when counted", "Counted", "Difference", "Who")


def name_of(line: StocktakeLine) -> str:
    """Return the name of a line's field."""
    return f"counted_{line.level_id}"


def lines_of(stocktake: Stocktake) -> list[StocktakeLine]:
    """Return what is to be counted, by SKU."""
    lines = stocktake.lines.select_related("level__sku")
    return list(lines.order_by("level__sku__code"))


def told_of(lines: Sequence[StocktakeLine]) -> list[tuple[StocktakeLine, list[Any]]]:
    """Return each line with what is told of it."""
    return [
        (
            line,
            [
                *(line.level.sku.code, line.expected_units, _or_dash(line.books_units)),
                _or_dash(line.counted_units),
                "-" if line.variance is None else f"{line.variance:+,}",
                line.counted_by,
            ],
        )
        for line in lines
    ]


def _or_dash(units: int | None) -> str:
    return "-" if units is None else f"{units:,}"


@admin.register(Stocktake)
class StocktakeAdmin(ActAdmin):
    """Counts of a location, with their differences."""

    acts = (OpenForm, CountLinesForm, ApproveForm, AbandonForm)
    refusals = REFUSALS
    list_display = ("id", "location", "status", "reference", "opened_by", "opened", "closed_by")
    list_select_related = ("location",)
    fields = readonly_fields = (
        *("id", "location", "status", "reference", "opened_by", "opened", "closed_by"),
        "closed_at",
    )

    @admin.display(description="opened at (UTC)")
    def opened(self, stocktake: Stocktake) -> str:
        """Return when it began."""
        return f"{stocktake.created_at:%Y-%m-%d %H:%M:%S}"

    def story_of(self, request: HttpRequest, row: Stocktake) -> dict[str, Any]:
        """Return its lines."""
        rows = [told for _, told in told_of(lines_of(row))]
        return {"tables": [Table("lines", "Lines", HEADINGS, rows, HEADINGS[1:5])]}

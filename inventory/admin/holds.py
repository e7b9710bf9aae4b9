"""Holds: to read, and to end before their time."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from backoffice.acts import ActAdmin, ActForm, Done
from backoffice.pages import Pages
from backoffice.tables import Table
from inventory import usecases
from inventory.admin.asked import REFUSALS, asked
from inventory.models import Hold


class ReleaseForm(ActForm):
    """Units given back at once."""

    verb, permission = "Release", "inventory.release_hold"
    explanation = (
        "What the hold keeps may be sold at once. Whoever holds it is told by an event, and finds "
        "nothing to turn into an order."
    )

    @classmethod
    def is_possible(cls, row: Hold) -> bool:
        """Test whether it still keeps something."""
        return row.state == Hold.State.LIVE

    def facts(self) -> list[tuple[str, Any]]:
        """Return what it keeps, and until when."""
        hold: Hold = self.row
        return [
            *(("State", hold.get_state_display()), ("Units", f"{hold.units:,}")),
            *(("Expires at", f"{hold.expires_at:%Y-%m-%d %H:%M:%S}"), ("Account", hold.account_id)),
        ]

    def act(self, request: HttpRequest) -> Done:
        """Release it, whoever's it is."""
        answer = usecases.release_hold(self.row.pk, is_of_anybody=True, **asked(self, request))
        return Done(f"{self.row} is released.", answer.is_replayed)


class HoldPages(Pages):
    """Holds, newest first; few are live, and no index has those of all accounts by id."""

    slow_params = frozenset({"state__exact"})


@admin.register(Hold)
class HoldAdmin(ActAdmin):
    """What is kept for whom, and until when."""

    acts = (ReleaseForm,)
    refusals = REFUSALS
    pages = HoldPages
    list_display = ("id", "state", "units", "expires", "account_id", "reference", "created")
    list_filter = ("state",)
    fields = readonly_fields = (
        *("id", "state", "units", "expires", "account_id", "reference", "order_id", "created"),
    )

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow what the page offers."""
        return lookup == "state__exact"

    @admin.display(description="expires at (UTC)")
    def expires(self, hold: Hold) -> str:
        """Return its deadline."""
        return f"{hold.expires_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="created at (UTC)")
    def created(self, hold: Hold) -> str:
        """Return when it was placed."""
        return f"{hold.created_at:%Y-%m-%d %H:%M:%S}"

    def story_of(self, request: HttpRequest, row: Hold) -> dict[str, Any]:
        """Return what it keeps, and where."""
        lines = row.lines.select_related("level__sku", "level__location").order_by("pk")
        rows = [
            [
                line.level.sku.code,
                line.level.location.code,
                line.units,
                "yes" if line.is_open else "",
            ]
            for line in lines
        ]
        headings = ("SKU", "Location", "Units", "Kept")
        return {"tables": [Table("lines", "What it keeps", headings, rows, ("Units",))]}

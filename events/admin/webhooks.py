"""Endpoints and their deliveries."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from backoffice.acts import ActAdmin
from backoffice.pages import Pages
from backoffice.tables import Table
from events import subscribing
from events.admin.forms import (
    CreateForm,
    DeliverAgainForm,
    DisableForm,
    EnableForm,
    PingForm,
    ReplayForm,
    RotateForm,
)
from events.errors import EventsError
from events.models import Delivery, Endpoint

LANE_PARAM = "lane__id__exact"
DELIVERIES_SHOWN = 20


def moment(at: Any) -> str:
    """Return an instant as people read it."""
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else "-"


@admin.register(Endpoint)
class EndpointAdmin(ActAdmin):
    """Where accounts are told of events; secrets are never shown."""

    acts = (CreateForm, PingForm, ReplayForm, RotateForm, DisableForm, EnableForm)
    refusals = (EventsError,)
    change_form_template = "admin/events/endpoint/change_form.html"
    list_display = ("url", "account_id", "told_of", "is_enabled", "disabled_reason", "failing")
    list_filter = ("is_enabled",)
    list_select_related = ("lane",)
    fields = readonly_fields = (
        *("url", "description", "account_id", "told_of", "sees_shared", "sees_all"),
        *("is_enabled", "disabled_reason", "disabled_at", "failing", "paused"),
        *("former_secret_until", "created_at", "updated_at"),
    )

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow what the page offers."""
        return lookup == "is_enabled__exact"

    @admin.display(description="told of")
    def told_of(self, endpoint: Endpoint) -> str:
        """Return the types of events."""
        return ", ".join(endpoint.types) or "everything"

    @admin.display(description="failing since (UTC)")
    def failing(self, endpoint: Endpoint) -> str:
        """Return since when it has taken nothing."""
        return moment(endpoint.lane.failing_since)

    @admin.display(description="rests until (UTC)")
    def paused(self, endpoint: Endpoint) -> str:
        """Return until when it is left alone after failures."""
        return moment(endpoint.lane.paused_until)

    def story_of(self, request: HttpRequest, row: Endpoint) -> dict[str, Any]:
        """Return what was sent last."""
        sent = list(subscribing.list_deliveries(row.lane_id)[:DELIVERIES_SHOWN])
        events = subscribing.find_events([delivery.event_id for delivery in sent])
        rows = [
            [
                *(moment(delivery.created_at), delivery.get_state_display()),
                getattr(events.get(delivery.event_id), "type", "-"),
                *(delivery.attempts, delivery.status or "-", delivery.error or "-"),
                *(moment(delivery.attempted_at), moment(delivery.due_at)),
            ]
            for delivery in sent
        ]
        headings = (
            *("Since", "State", "Event", "Attempts", "Status", "Error"),
            *("Last attempt", "Due"),
        )
        return {"tables": [Table("deliveries", "Deliveries", headings, rows, ("Attempts",))]}


class DeliveryPages(Pages):
    """Deliveries, newest first, each with its event."""

    slow_params = frozenset({"state__exact"})

    def get_results(self, request: HttpRequest) -> None:
        """Read the events of a page at once."""
        super().get_results(request)
        events = subscribing.find_events([row.event_id for row in self.result_list])
        for row in self.result_list:
            row.event = events.get(row.event_id)


@admin.register(Delivery)
class DeliveryAdmin(ActAdmin):
    """What was sent, is being sent, or could not be sent."""

    acts = (DeliverAgainForm,)
    refusals = (EventsError,)
    pages = DeliveryPages
    list_display = ("since", "event_type", "about", "state", "attempts", "status", "error", "to")
    list_filter = ("state",)
    list_select_related = ("lane__endpoint",)
    fields = readonly_fields = (
        *("event_id", "event_type", "about", "to", "state", "attempts", "status", "error"),
        *("answer", "duration_ms", "since", "attempted_at", "due_at"),
    )

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow what an index answers, and what the page offers."""
        return lookup in ("state__exact", LANE_PARAM)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """Return a delivery with its event."""
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            row.event = subscribing.find_events([row.event_id]).get(row.event_id)
        return row

    @admin.display(description="since (UTC)")
    def since(self, delivery: Delivery) -> str:
        """Return when it was taken up."""
        return moment(delivery.created_at)

    @admin.display(description="event")
    def event_type(self, delivery: Any) -> str:
        """Return the type of what is told."""
        return delivery.event.type if delivery.event else "-"

    @admin.display(description="about")
    def about(self, delivery: Any) -> str:
        """Return what it is about."""
        event = delivery.event
        return f"{event.aggregate_type}/{event.aggregate_id}" if event else "-"

    @admin.display(description="to")
    def to(self, delivery: Delivery) -> str:
        """Return who is told."""
        lane = delivery.lane
        endpoint = getattr(lane, "endpoint", None)
        return endpoint.url if endpoint else str(lane)

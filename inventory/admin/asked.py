"""What every form about stock tells the use case."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from backoffice.acts import ActForm
from config.errors import AppError
from events.usecases import EventsError, keyed_request
from inventory import usecases
from inventory.rules import REASONS
from inventory.usecases import Provenance

REFUSALS = (AppError, EventsError)
REASON_CHOICES = [("", "Choose a reason"), *((reason, reason) for reason in REASONS)]


def asked(form: ActForm, request: HttpRequest) -> dict[str, Any]:
    """Return who asks, when, and under which key."""
    return {
        "request": keyed_request(**form.as_request(request)),
        "provenance": provenance_of(request),
        "now": timezone.now(),
    }


def provenance_of(request: HttpRequest) -> Provenance:
    """Return who moves stock, and through what."""
    return Provenance(
        actor=request.user.get_username(),
        source="admin",
        trace_id=getattr(request, "trace_id", ""),
    )


def location_choices() -> list[tuple[str, str]]:
    """Return every location, to choose from."""
    return [(place.code, place.name or place.code) for place in usecases.list_locations()]

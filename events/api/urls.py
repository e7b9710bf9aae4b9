"""The addresses of events, below /api/v1/."""

from django.urls import URLPattern, path

from events.api.views import EventViewSet

urlpatterns: list[URLPattern] = [
    path("events", EventViewSet.as_view({"get": "list"}), name="events"),
]

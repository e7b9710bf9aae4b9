"""The addresses of events, below /api/v1/."""

from django.urls import URLPattern, path

from events.api.views import EventViewSet, WebhookViewSet

urlpatterns: list[URLPattern] = [
    path("events", EventViewSet.as_view({"get": "list"}), name="events"),
    path("webhooks", WebhookViewSet.as_view({"get": "list", "post": "create"}), name="webhooks"),
    path(
        "webhooks/<uuid:webhook_id>",
        WebhookViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="webhook",
    ),
    path(
        "webhooks/<uuid:webhook_id>/rotate-secret",
        WebhookViewSet.as_view({"post": "rotate_secret"}),
        name="webhook-rotate-secret",
    ),
    path(
        "webhooks/<uuid:webhook_id>/test",
        WebhookViewSet.as_view({"post": "test"}),
        name="webhook-test",
    ),
    path(
        "webhooks/<uuid:webhook_id>/deliveries",
        WebhookViewSet.as_view({"get": "deliveries"}),
        name="webhook-deliveries",
    ),
    path(
        "webhooks/<uuid:webhook_id>/replay",
        WebhookViewSet.as_view({"post": "replay"}),
        name="webhook-replay",
    ),
]

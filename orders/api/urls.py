"""The addresses of orders, below /api/v1/."""

from django.urls import URLPattern, path

from orders.api.changes import ChangeViewSet
from orders.api.exports import ExportViewSet
from orders.api.views import OrderViewSet

urlpatterns: list[URLPattern] = [
    path("orders", OrderViewSet.as_view({"get": "list", "post": "create"}), name="orders"),
    path("orders/bulk", OrderViewSet.as_view({"post": "bulk"}), name="orders-bulk"),
    path("orders/export", ExportViewSet.as_view({"get": "export"}), name="orders-export"),
    path("orders/<uuid:order_id>", OrderViewSet.as_view({"get": "retrieve"}), name="order"),
    path(
        "orders/<uuid:order_id>/events",
        OrderViewSet.as_view({"get": "events"}),
        name="order-events",
    ),
    path(
        "orders/<uuid:order_id>/cancel",
        ChangeViewSet.as_view({"post": "cancel"}),
        name="order-cancel",
    ),
    path(
        "orders/<uuid:order_id>/payments",
        ChangeViewSet.as_view({"post": "pay"}),
        name="order-payments",
    ),
    path(
        "orders/<uuid:order_id>/fulfillments",
        ChangeViewSet.as_view({"post": "fulfill"}),
        name="order-fulfillments",
    ),
    path(
        "orders/<uuid:order_id>/returns",
        ChangeViewSet.as_view({"post": "take_back"}),
        name="order-returns",
    ),
    path(
        "orders/<uuid:order_id>/notes",
        ChangeViewSet.as_view({"get": "notes", "post": "note"}),
        name="order-notes",
    ),
]

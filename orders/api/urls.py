"""The addresses of orders, below /api/v1/."""

from django.urls import URLPattern, path

from orders.api.views import OrderViewSet

urlpatterns: list[URLPattern] = [
    path("orders", OrderViewSet.as_view({"get": "list", "post": "create"}), name="orders"),
    path("orders/bulk", OrderViewSet.as_view({"post": "bulk"}), name="orders-bulk"),
    path("orders/<uuid:order_id>", OrderViewSet.as_view({"get": "retrieve"}), name="order"),
    path(
        "orders/<uuid:order_id>/events",
        OrderViewSet.as_view({"get": "events"}),
        name="order-events",
    ),
]

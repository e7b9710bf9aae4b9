"""The addresses of inventory, below /api/v1/."""

from django.urls import URLPattern, path, re_path

from inventory.api.hold_views import HoldViewSet
from inventory.api.views import SkuViewSet, StockViewSet

CODE = r"(?P<code>[A-Za-z0-9._-]{1,64})"

urlpatterns: list[URLPattern] = [
    re_path(r"^skus$", SkuViewSet.as_view({"get": "list", "post": "create"}), name="skus"),
    re_path(
        rf"^skus/{CODE}$",
        SkuViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
        name="sku",
    ),
    re_path(r"^stock$", StockViewSet.as_view({"get": "list"}), name="stock"),
    # No SKU has this code: inventory.rules reserves it.
    re_path(
        r"^stock/availability$",
        StockViewSet.as_view({"post": "availability"}),
        name="stock-availability",
    ),
    re_path(rf"^stock/{CODE}$", StockViewSet.as_view({"get": "retrieve"}), name="stock-of-sku"),
    re_path(
        rf"^stock/{CODE}/movements$",
        StockViewSet.as_view({"get": "movements"}),
        name="stock-movements",
    ),
    re_path(
        rf"^stock/{CODE}/receipts$",
        StockViewSet.as_view({"post": "receive"}),
        name="stock-receipts",
    ),
    re_path(
        rf"^stock/{CODE}/adjustments$",
        StockViewSet.as_view({"post": "adjust"}),
        name="stock-adjustments",
    ),
    path("holds", HoldViewSet.as_view({"get": "list", "post": "create"}), name="holds"),
    path("holds/<uuid:hold_id>", HoldViewSet.as_view({"get": "retrieve"}), name="hold"),
    path(
        "holds/<uuid:hold_id>/extend",
        HoldViewSet.as_view({"post": "extend"}),
        name="hold-extend",
    ),
    path(
        "holds/<uuid:hold_id>/release",
        HoldViewSet.as_view({"post": "release"}),
        name="hold-release",
    ),
]

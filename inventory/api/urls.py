"""The addresses of inventory, below /api/v1/."""

from django.urls import URLPattern, path, re_path

from inventory.api.hold_views import HoldViewSet
from inventory.api.locations import LocationViewSet
from inventory.api.stocktakes import StocktakeViewSet
from inventory.api.transfers import TransferViewSet
from inventory.api.views import SkuViewSet, StockViewSet

CODE = r"(?P<code>[A-Za-z0-9._-]{1,64})"
PLACE = r"[A-Za-z0-9._-]{1,32}"

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
    re_path(
        rf"^stock/{CODE}/counts$", StockViewSet.as_view({"post": "count"}), name="stock-counts"
    ),
    re_path(
        rf"^stock/{CODE}/quarantine$",
        StockViewSet.as_view({"post": "quarantine"}),
        name="stock-quarantine",
    ),
    re_path(
        rf"^stock/{CODE}/levels/(?P<location>{PLACE})$",
        StockViewSet.as_view({"patch": "set_policy"}),
        name="stock-policy",
    ),
    re_path(
        rf"^stock/{CODE}/transfers$",
        TransferViewSet.as_view({"post": "send"}),
        name="stock-transfers",
    ),
    path("transfers", TransferViewSet.as_view({"get": "list"}), name="transfers"),
    path(
        "transfers/<uuid:transfer_id>",
        TransferViewSet.as_view({"get": "retrieve"}),
        name="transfer",
    ),
    path(
        "transfers/<uuid:transfer_id>/receive",
        TransferViewSet.as_view({"post": "receive"}),
        name="transfer-receive",
    ),
    path(
        "transfers/<uuid:transfer_id>/cancel",
        TransferViewSet.as_view({"post": "cancel"}),
        name="transfer-cancel",
    ),
    path(
        "stocktakes",
        StocktakeViewSet.as_view({"get": "list", "post": "create"}),
        name="stocktakes",
    ),
    path(
        "stocktakes/<uuid:stocktake_id>",
        StocktakeViewSet.as_view({"get": "retrieve"}),
        name="stocktake",
    ),
    path(
        "stocktakes/<uuid:stocktake_id>/counts",
        StocktakeViewSet.as_view({"post": "count"}),
        name="stocktake-counts",
    ),
    path(
        "stocktakes/<uuid:stocktake_id>/approve",
        StocktakeViewSet.as_view({"post": "approve"}),
        name="stocktake-approve",
    ),
    path(
        "stocktakes/<uuid:stocktake_id>/cancel",
        StocktakeViewSet.as_view({"post": "cancel"}),
        name="stocktake-cancel",
    ),
    re_path(
        r"^locations$",
        LocationViewSet.as_view({"get": "list", "post": "create"}),
        name="locations",
    ),
    re_path(
        rf"^locations/(?P<code>{PLACE})$",
        LocationViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
        name="location",
    ),
]

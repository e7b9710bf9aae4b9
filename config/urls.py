"""Every address of the service; the edge answers /livez and /readyz before it comes here."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from config.catalogue import error_page, errors_index
from config.lean import lean

admin.site.site_title = admin.site.site_header = "Sluice"
admin.site.index_title = "Back office"
admin.site.site_url = None  # There is no other site to view.

# Orders first: whatever stands before an address is tried before it, for every order anew.
api: list[URLPattern | URLResolver] = [
    *lean("orders.api.urls"),
    path("", include("inventory.api.urls")),
    path("", include("events.api.urls")),
    path("rollout/", include("rollout.api.urls")),
]

urlpatterns = [
    path("api/v1/", include(api)),
    path("admin/", include("accounts.urls")),
    path("admin/", admin.site.urls),
    path("api/errors", errors_index, name="errors"),
    path("api/errors/<str:code>", error_page, name="error"),
    path("api/schema", SpectacularJSONAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
]

handler400 = "config.problems.bad_request"
handler403 = "config.problems.permission_denied"
handler404 = "config.problems.page_not_found"
handler500 = "config.problems.server_error"

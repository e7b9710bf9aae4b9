"""manage.py check knows a view that forgot its scope."""

from django.test import SimpleTestCase, override_settings
from django.urls import include, path
from rest_framework.permissions import AllowAny
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from accounts.checks import check_declared_scopes


class CupViewSet(ViewSet):
    """One action declared, one misspelt, one forgotten."""

    scopes = {"list": "stock:read", "create": "stock:wriite"}

    def list(self, request): ...

    def create(self, request): ...

    def drop(self, request): ...


class OpenViewSet(ViewSet):
    """Needs no key."""

    permission_classes = [AllowAny]

    def list(self, request): ...


class PlainView(APIView):
    """One method declared, one forgotten."""

    scopes = {"get": "stock:read"}

    def get(self, request): ...

    def post(self, request): ...


urlpatterns = [
    path("v1/", include([path("cups", CupViewSet.as_view({"get": "list", "post": "create"}))])),
    path("drop", CupViewSet.as_view({"post": "drop"})),
    path("open", OpenViewSet.as_view({"get": "list"})),
    path("plain", PlainView.as_view()),
    path("function", lambda request: None),
]


class DeclaredScopesTests(SimpleTestCase):
    def test_the_project_declares_a_known_scope_for_every_action(self):
        self.assertEqual(check_declared_scopes(None), [])

    @override_settings(ROOT_URLCONF=__name__)
    def test_names_each_action_that_no_key_opens(self):
        found = [(fault.id, fault.msg.split(" ")[0]) for fault in check_declared_scopes(None)]

        self.assertEqual(
            found,
            [
                ("accounts.E002", "CupViewSet.create"),
                ("accounts.E001", "CupViewSet.drop"),
                ("accounts.E001", "PlainView.post"),
            ],
        )

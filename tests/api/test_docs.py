"""The schema and its pages work without the internet and without inline code."""

import re
from html.parser import HTMLParser

from django.contrib.auth import get_user_model
from django.contrib.staticfiles import finders
from django.test import Client, SimpleTestCase, TestCase, override_settings
from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAdminUser

PRIVATE = {"authentication_classes": [SessionAuthentication], "permission_classes": [IsAdminUser]}


class PrivateUrls:
    """The schema as production wires it when DOCS_PUBLIC is false."""

    urlpatterns = [path("api/schema", SpectacularJSONAPIView.as_view(**PRIVATE))]


class Tags(HTMLParser):
    """Collects what a page loads, and what it would run or style inline."""

    def __init__(self, html):
        super().__init__()
        self.loaded, self.inline = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.loaded += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag == "style" or (tag == "script" and "src" not in attributes):
            self.inline.append(tag)
        self.inline += [name for name in attributes if name == "style" or name.startswith("on")]


class SchemaTests(SimpleTestCase):
    def setUp(self):
        self.client = Client(headers={"host": "localhost"})

    def test_is_openapi_3_1_in_json_whatever_is_accepted(self):
        response = self.client.get("/api/schema", headers={"accept": "text/html"})

        schema = response.json()
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/vnd.oai.openapi+json"
        assert schema["openapi"] == "3.1.0"
        assert schema["info"]["title"] == "Sluice"
        assert schema["servers"] == [{"url": "/"}]
        assert {
            (scheme["type"], scheme["scheme"])
            for scheme in schema["components"]["securitySchemes"].values()
        } == {("http", "bearer")}


class PageTests(SimpleTestCase):
    def setUp(self):
        self.client = Client(headers={"host": "localhost"})

    def test_runs_under_its_own_policy(self):
        response = self.client.get("/api/docs")

        page = Tags(response.content.decode())
        assert page.inline == []
        assert response.headers["Content-Security-Policy"].startswith("default-src 'self';")

    def test_loads_nothing_from_elsewhere(self):
        page = Tags(self.client.get("/api/docs").content.decode())

        assert len(page.loaded) == 5
        for address in page.loaded:
            if address.startswith("/static/"):
                assert finders.find(address.removeprefix("/static/")), address
            else:
                script = self.client.get(address)
                assert address.startswith("/api/docs?")
                assert script.headers["Content-Type"].startswith("application/javascript")
                assert not re.search(rb"https?://", script.content)


class PrivateSchemaTests(TestCase):
    def schema_for(self, **flags):
        client = Client(headers={"host": "localhost"})
        if flags:
            user = get_user_model().objects.create_user("ann", password=None, **flags)
            client.force_login(user)
        with override_settings(ROOT_URLCONF=PrivateUrls):
            return client.get("/api/schema").status_code

    def test_is_for_staff_alone(self):
        assert self.schema_for(is_staff=True) == 200

    def test_is_not_for_others(self):
        assert self.schema_for() == 401
        assert self.schema_for(is_staff=False) == 403


class AdminPolicyTests(TestCase):
    def test_the_login_and_the_index_run_under_the_policy(self):
        client = Client(headers={"host": "localhost"})
        login = client.get("/admin/login/")
        client.force_login(get_user_model().objects.create_superuser("ann"))
        index = client.get("/admin/")

        for response in (login, index):
            assert response.status_code == 200
            assert Tags(response.content.decode()).inline == []
            assert "Content-Security-Policy" in response.headers

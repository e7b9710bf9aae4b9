"""What cannot work is told before the first request."""

import pytest
from django.test import TestCase

from rollout import usecases
from rollout.api.views import StatusViewSet
from rollout.checks import check_api, check_middleware, check_paths, check_rules, check_settings
from rollout.codepath import CodePath
from rollout.runtime import runtime

KEY = "tests.path"


@pytest.fixture(autouse=True)
def _own_runtime():
    yield
    runtime.forget(KEY)


def ids(found):
    return [message.id for message in found]


class CheckTests:
    def test_finds_nothing_in_this_project(self):
        assert [*check_paths(), *check_settings(), *check_middleware(), *check_api()] == []

    def test_finds_a_path_without_a_version(self):
        CodePath(KEY, effects="read")

        assert ids(check_paths()) == ["rollout.E001"]

    def test_finds_a_release_of_a_version_that_is_not_there(self, settings):
        path = CodePath(KEY, effects="read")
        path.version("v1")(lambda: 1)
        settings.ROLLOUT_RELEASES = {KEY: "v9"}

        assert ids(check_paths()) == ["rollout.E002"]

    @pytest.mark.parametrize(
        ("name", "value", "id_"),
        [
            ("ROLLOUT_HEADER_TRUST", "everybody", "rollout.E003"),
            ("ROLLOUT_IDENTITIES", {"shop": "nowhere.shop_of"}, "rollout.E004"),
            ("ROLLOUT_PERMISSION_TEST", "nowhere", "rollout.E004"),
            ("ROLLOUT_INTERNAL_CIDRS", ["10.0.0.0/99"], "rollout.E005"),
            ("ROLLOUT_RELEASES", {"place": "v1"}, "rollout.E006"),
        ],
    )
    def test_finds_settings_that_cannot_work(self, settings, name, value, id_):
        setattr(settings, name, value)

        assert ids(check_settings()) == [id_]

    def test_warns_when_requests_get_no_snapshot(self, settings):
        settings.MIDDLEWARE = []

        assert ids(check_middleware()) == ["rollout.W001"]

    def test_warns_when_nothing_authenticates_the_callers_of_the_api(self, monkeypatch):
        monkeypatch.setattr(StatusViewSet, "authentication_classes", [])

        assert ids(check_api()) == ["rollout.W002"]


class RulesInForceTests(TestCase):
    def setUp(self):
        path = CodePath(KEY, effects="read")
        path.version("v1")(lambda: 1)
        path.version("v2")(lambda: 1)
        usecases.publish(
            {
                "schema_version": 1,
                "releases": {KEY: {"stable": "v1"}},
                "rules": [{"id": "all", "path": KEY, "serve": "v2"}],
            },
            expected_generation=0,
            actor=usecases.Actor("ada"),
            comment="v2 for all",
        )

    def found(self):
        return check_rules(databases=["default"])

    def test_fit_the_code_that_they_were_published_for(self):
        assert self.found() == []

    def test_name_a_version_that_left_the_code(self):
        del runtime.paths[KEY].versions["v2"]

        (warning,) = self.found()

        assert warning.id == "rollout.W003"
        assert "/rules/0/serve: tests.path has v1, not v2" in warning.msg

    def test_name_a_path_that_left_the_code(self):
        runtime.forget(KEY)

        assert {warning.id for warning in self.found()} == {"rollout.W003"}

    def test_are_not_asked_for_without_the_database(self):
        runtime.forget(KEY)

        assert check_rules() == []

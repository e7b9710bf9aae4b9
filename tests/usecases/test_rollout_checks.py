"""What cannot work is told before the first request."""

import pytest

from rollout.checks import check_middleware, check_paths, check_settings
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
        assert [*check_paths(), *check_settings(), *check_middleware()] == []

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

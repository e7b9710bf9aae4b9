"""docs/api.md: every curl is sent as it is written, and answered as it is said."""

import re
import shutil
from pathlib import Path

import pytest

from tests.api.pages import PageTestCase

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
# A block for the shell, and the first words after it.
EXAMPLE = re.compile(
    r"^```sh\n(.*?)^```\n(?:\*\*(\d{3})(?:\.|\*\*)(?:\*\*)?(?: `(\w+)`)?)?", re.M | re.S
)
PLACE = '$URL/api/v1/orders"'


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
class ApiPageTests(PageTestCase):
    def test_is_true(self):
        settings, shorthands, *examples = EXAMPLE.findall(PAGE)
        assert "KEY=" in settings[0]
        self.set_shorthands(shorthands[0])

        for curl, status, code in examples:
            told, head, body = self.send(curl)

            assert told == int(status), (curl, body)
            if told >= 400:
                assert body["code"] == code, curl
            if PLACE in curl and told == 201:
                assert f"location: /api/v1/orders/{body['id']}" in head.lower()
                self.variables["ORDER"] = body["id"]
        assert len(examples) == PAGE.count("curl -i")

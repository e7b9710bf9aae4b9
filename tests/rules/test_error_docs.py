"""docs/errors.md says what the code does."""

import re
import unittest
from pathlib import Path

from django.conf import settings

from config.health import DURABLE
from config.middleware import METHODS
from config.problems import STATUS_BY_KIND
from config.strict_json import DEPTH_MAX

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")


class ErrorDocsTests(unittest.TestCase):
    def test_have_the_one_table(self):
        rows = re.findall(r"^\| (\w+) \| (\d{3}) \|$", TEXT, re.MULTILINE)

        assert {kind: int(status) for kind, status in rows} == STATUS_BY_KIND

    def test_have_the_limits(self):
        for words in (
            f"| {settings.BODY_BYTES_MAX} bytes; `/api/v1/orders/bulk`",
            f"{settings.BULK_BODY_BYTES_MAX} bytes |",
            f"nested {DEPTH_MAX} deep",
            f"| {', '.join(METHODS)} |",
        ):
            assert words in TEXT, words

    def test_name_the_settings_that_a_ready_database_has(self):
        for name in DURABLE:
            assert f"`{name}`" in TEXT

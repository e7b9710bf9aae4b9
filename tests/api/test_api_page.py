"""docs/api.md: every curl is sent as it is written, and answered as it is said."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.test import LiveServerTestCase

from tests.builders import given_api_key
from tests.committed import CommittedTestCase

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
# A block for the shell, and the first words after it.
EXAMPLE = re.compile(
    r"^```sh\n(.*?)^```\n(?:\*\*(\d{3})(?:\.|\*\*)(?:\*\*)?(?: `(\w+)`)?)?", re.M | re.S
)
PLACE = '$URL/api/v1/orders"'


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
class ApiPageTests(CommittedTestCase, LiveServerTestCase):
    def setUp(self):
        self.variables = {"URL": self.live_server_url, "KEY": given_api_key()}

    def run_block(self, block):
        """Return what a block says in a shell that has the variables of those before it."""
        done = subprocess.run(
            ["bash", "-euc", block],
            env={"PATH": os.environ["PATH"]} | self.variables,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return done.stdout

    def send(self, curl):
        """Return the status, the head and the JSON that a curl answered."""
        head, _, body = self.run_block(curl).partition("\n\n")
        return int(head.split()[1]), head, json.loads(body)

    def test_is_true(self):
        settings, shorthands, *examples = EXAMPLE.findall(PAGE)
        assert "KEY=" in settings[0]
        for line in shorthands[0].splitlines():
            name = line.partition("=")[0]
            self.variables[name] = self.run_block(f'{line}\nprintf %s "${name}"')

        for curl, status, code in examples:
            told, head, body = self.send(curl)

            assert told == int(status), (curl, body)
            if told >= 400:
                assert body["code"] == code, curl
            if PLACE in curl and told == 201:
                assert f"location: /api/v1/orders/{body['id']}" in head.lower()
                self.variables["ORDER"] = body["id"]
        assert len(examples) == PAGE.count("curl -i")

"""docs/accounts.md says what is so."""

import re
from pathlib import Path
from unittest import TestCase

from django.conf import settings

from accounts import rules

PAGE = (Path(__file__).parents[2] / "docs" / "accounts.md").read_text(encoding="utf-8")


class AccountsPageTests(TestCase):
    def test_lists_every_scope_as_the_settings_do(self):
        rows = re.findall(r"^\| `(\w+:\w+)` \| (.+) \|$", PAGE, re.MULTILINE)

        told = {name: meaning.split(" (")[0] for name, meaning in rows}
        self.assertEqual(told, settings.ACCOUNTS_SCOPES)

    def test_publishes_the_form_of_a_key(self):
        self.assertIn(f"`{rules.KEY_PATTERN}`", PAGE)

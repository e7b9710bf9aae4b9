"""docs/import.md says what the importer does."""

import re
import unittest
from pathlib import Path

from orders import importing, retail

GUIDE = (Path(__file__).parents[2] / "docs" / "import.md").read_text()
REASON = re.compile(r'(?:RowFault|rejected)\(\s*"([a-z_]+)"')


class ImportDocsTests(unittest.TestCase):
    def test_names_every_reason(self):
        reasons = {
            reason
            for module in (retail, importing)
            for reason in REASON.findall(Path(module.__file__).read_text())
        }

        self.assertGreater(len(reasons), 15)
        self.assertEqual({reason for reason in reasons if f"`{reason}`" not in GUIDE}, set())

    def test_names_every_charge_and_column(self):
        for name in (*retail.CHARGE_CODES, *retail.COLUMNS, *retail.REJECTED_COLUMNS, retail.GUEST):
            self.assertIn(f"`{name}`", GUIDE)

"""docs/import-stock.md says what the importer does."""

import re
import unittest
from pathlib import Path

from inventory import stockfiles, stockplans

GUIDE = (Path(__file__).parents[2] / "docs" / "import-stock.md").read_text(encoding="utf-8")
REASON = re.compile(r'(?:RowFault|BadRow|_Refused)\(\s*(?:[\w., ]+)?"([a-z_]+)"')


class ImportStockDocsTests(unittest.TestCase):
    def test_names_every_reason(self):
        reasons = {
            reason
            for module in (stockfiles, stockplans)
            for reason in REASON.findall(Path(module.__file__).read_text(encoding="utf-8"))
        }

        self.assertGreater(len(reasons), 12)
        self.assertEqual({reason for reason in reasons if f"`{reason}`" not in GUIDE}, set())

    def test_names_every_column_and_the_limits(self):
        for name in (*stockfiles.COLUMNS, *stockfiles.TOLD_COLUMNS):
            self.assertIn(f"`{name}`", GUIDE)
        self.assertIn(f"{stockfiles.ROWS_MAX:,} rows", GUIDE)
        self.assertIn(f"{stockfiles.FILE_BYTES_MAX // 1024**2} MiB", GUIDE)

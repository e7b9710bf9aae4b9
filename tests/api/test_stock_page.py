"""docs/stock.md: every curl is sent as it is written, and does what is said."""

import re
import shutil
from pathlib import Path

import pytest

from inventory.models import Transfer
from tests.api.pages import PageTestCase
from tests.builders import given_stock, level_of

PAGE = (Path(__file__).parents[2] / "docs" / "stock.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```sh\n(.*?)^```\n", re.M | re.S)
# What an answer is the first of, and the variable that the page calls its id.
PLACES = {"/transfers": "TRANSFER", "/stocktakes": "STOCKTAKE"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
class StockPageTests(PageTestCase):
    def test_is_true(self):
        given_stock("CUP", on_hand=30)
        given_stock("A1-CUP", on_hand=100)
        shorthands, *blocks = BLOCK.findall(PAGE)
        self.set_shorthands(shorthands)
        curls = [curl for block in blocks for curl in re.split(r"^(?=curl )", block, flags=re.M)]

        for curl in filter(None, curls):
            told, _, body = self.send(curl)

            is_post = "-d " in curl and "PATCH" not in curl
            assert told == (201 if is_post else 200), (curl, body)
            for place, name in PLACES.items():
                if f'{place}" ' in curl:
                    self.variables[name] = body["id"]
        assert len(list(filter(None, curls))) == PAGE.count("curl -i")
        self.assert_done()

    def assert_done(self):
        """Hold the books against what the page says became of them."""
        main, annex = level_of("CUP"), level_of("CUP", "annex")
        assert (main.on_hand, annex.on_hand, annex.incoming) == (10, 19, 0)
        assert Transfer.objects.get().missing_units == 1
        assert level_of("A1-CUP").on_hand == 97
        assert (main.unavailable, main.safety, main.low_at, main.backorder_limit) == (2, 2, 10, 50)

"""The orders that bench/filling.py writes are orders like any other."""

import os

import pytest

from bench.competitors import SLUICE
from bench.filling import fill_goods, fill_orders
from bench.trust import check_books, count_orders
from tests.server import fresh_database, serving

pytestmark = pytest.mark.prove


class FillingTests:
    def test_leaves_books_that_balance(self) -> None:
        with fresh_database(os.environ["DATABASE_URL"]) as database:
            fill_goods(database, skus=7, on_hand=1_000)
            fill_orders(database, orders=1_000, skus=7)

            assert count_orders(database, SLUICE) == 1_001
            check_books(SLUICE, database)
            database.assert_balanced()
            with serving(database) as server:
                server.must_post(
                    "/api/v1/orders",
                    {"customer": "c-1", "lines": [{"sku": "BENCH-7", "quantity": 1}]},
                )
            database.assert_balanced()

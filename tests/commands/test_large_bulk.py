"""What is too large for the socket's buffers, through a real worker."""

import json
import os

from tests.server import fresh_database, serving

ORDERS = 500


class LargeBulkTests:
    def test_is_placed_in_one_call(self):
        with fresh_database(os.environ["DATABASE_URL"]) as database, serving(database) as server:
            server.given_stock("CUP", on_hand=ORDERS)
            note = {"note": "x" * 1500}
            orders = [
                {
                    "idempotency_key": f"k-{n}",
                    "customer": "c-17",
                    "lines": [{"sku": "CUP", "quantity": 1}],
                    "metadata": note,
                }
                for n in range(ORDERS)
            ]

            status, _, body = server.call("POST", "/api/v1/orders/bulk", {"orders": orders})

            assert status == 200
            assert {item["status"] for item in json.loads(body)["data"]} == {201}
            assert server.level_of("CUP") == (ORDERS, ORDERS)
            assert "transaction failed" not in server.log_text()

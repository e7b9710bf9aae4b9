"""GET /api/v1/orders/export"""

import csv
import io
import json
from unittest.mock import patch

from django.test import TestCase

from orders import exporting
from orders.models import Order
from orders.usecases import Charge, Cut, cancel_order
from rollout.codepath import override
from tests.builders import (
    a_change,
    given_account,
    given_api_key,
    given_sku,
    given_stock,
    place,
    placed_order,
)

ADDRESS = "/api/v1/orders/export"


class ExportOrdersTests(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1", orders_get="v1"))
        given_stock("CUP", on_hand=1000)
        given_sku("-9", is_tracked=False)
        self.shop = given_account()
        self.key = given_api_key(self.shop)

    def call(self, query, key=None, **more):
        headers = {"authorization": f"Bearer {key or self.key}", "host": "localhost"}
        return self.client.get(f"{ADDRESS}?{query}", headers=headers, **more)

    def export(self, query, key=None):
        answer = self.call(query, key)
        self.assertEqual(answer.status_code, 200)
        return answer, answer.getvalue().decode()

    def documents(self, query="format=ndjson", key=None):
        # Not splitlines: a text may hold other ends of lines than this one.
        return [json.loads(line) for line in self.export(query, key)[1].split("\n")[:-1]]

    def order(self, **more):
        return placed_order(place(account=more.pop("account", self.shop), **more))

    def test_ndjson_is_each_order_as_it_is_read(self):
        self.order(
            customer='=1+1 "\\\n\u2028é',
            reference="-ref",
            charges=(Charge("postage", "Post,age", 495), Charge("d", "\\N", -100)),
            metadata={"note": "back\\slash\tand \x02", "n": [1, None, 1.5]},
            ship_to={"name": "Ann", "lines": ["1"], "city": "York", "country": "GB"},
            pay_within_s=60,
        )
        cut = self.order(units={"CUP": 5, "-9": 1})
        cancel_order(a_change(cut), cuts=[Cut(0, 2)], reason="")
        gone = self.order()
        cancel_order(a_change(gone), cuts=None, reason="")

        documents = self.documents()

        read = [
            self.client.get(
                f"/api/v1/orders/{order.pk}",
                headers={"authorization": f"Bearer {self.key}", "host": "localhost"},
            ).json()
            for order in Order.objects.order_by("id")
        ]
        self.assertEqual(documents, read)
        self.assertEqual([document["due_minor"] for document in documents[1:]], [1000, 0])

    def test_csv_has_a_line_for_each_line_and_no_formula(self):
        self.order(units={"CUP": 2, "-9": 1}, customer="=1+1", reference='a,"b"')

        answer, text = self.export("format=csv")

        head, *rows = csv.reader(io.StringIO(text))
        self.assertEqual(tuple(head), exporting.COLUMNS)
        first, second = (dict(zip(head, row, strict=True)) for row in rows)
        self.assertEqual(
            [first[name] for name in ("customer", "reference", "sku", "quantity", "total_minor")],
            ["'=1+1", 'a,"b"', "CUP", "2", "750"],
        )
        self.assertEqual((second["sku"], second["position"]), ("'-9", "1"))
        self.assertEqual(answer.headers["Content-Type"], "text/csv; charset=utf-8")
        self.assertEqual(answer.headers["Content-Disposition"], 'attachment; filename="orders.csv"')
        self.assertEqual(answer.headers["Content-Length"], str(len(text.encode())))
        self.assertEqual(answer.headers["Cache-Control"], "no-store")

    def test_a_key_sees_its_own_accounts_orders_unless_it_may_see_all(self):
        mine = self.order()
        other = given_account("other")
        theirs = self.order(account=other)

        self.assertEqual([d["id"] for d in self.documents()], [str(mine.pk)])
        every = given_api_key(other, "orders:read", "orders:all")
        self.assertEqual(
            [d["id"] for d in self.documents(key=every)], [str(mine.pk), str(theirs.pk)]
        )
        self.assertEqual(
            self.call("format=csv", given_api_key(other, "stock:read")).status_code, 403
        )

    def test_blocks_and_answers_go_on_where_the_last_one_ended(self):
        orders = [str(self.order().pk) for _ in range(5)]

        with patch.object(exporting, "ORDERS_AT_ONCE", 2):
            answer, text = self.export("format=ndjson&limit=3")
            rest = self.documents(f"format=ndjson&cursor={answer.headers['X-Next-Cursor']}")

        self.assertEqual([json.loads(line)["id"] for line in text.splitlines()], orders[:3])
        self.assertEqual([document["id"] for document in rest], orders[3:])
        self.assertNotIn("X-Next-Cursor", self.export("format=ndjson")[0].headers)

    def test_narrows_by_time_and_may_be_empty(self):
        self.order()

        self.assertEqual(len(self.documents("format=ndjson&placed_before=2026-05-05T00:00:00Z")), 1)
        self.assertEqual(self.export("format=ndjson&placed_after=2026-05-05T00:00:00Z")[1], "")
        _, text = self.export("format=csv&placed_after=2026-05-05T00:00:00Z")
        self.assertEqual(text, ",".join(exporting.COLUMNS) + "\r\n")

    def test_refuses_other_forms_and_too_many(self):
        for query in ("", "format=xml", "format=csv&limit=100001", "format=csv&cursor=x"):
            with self.subTest(query):
                self.assertEqual(self.call(query).json()["code"], "validation_failed")

    def test_refuses_one_more_than_may_be_written_at_once(self):
        for _ in range(exporting.EXPORTS_AT_ONCE):
            exporting._turns.acquire()
            self.addCleanup(exporting._turns.release)

        answer = self.call("format=csv")

        self.assertEqual((answer.status_code, answer.json()["code"]), (503, "exports_busy"))
        self.assertEqual(answer.headers["Retry-After"], "5")

    def test_head_writes_nothing(self):
        answer = self.client.head(
            f"{ADDRESS}?format=csv",
            headers={"authorization": f"Bearer {self.key}", "host": "localhost"},
        )

        self.assertEqual((answer.status_code, answer.content), (200, b""))

"""The books balance, and reconcile tells when they do not."""

from collections import Counter

from django.core.management import CommandError, call_command
from django.db import connection

from orders.lifecycle import Comeback, Cut, Pick
from orders.models import Order
from orders.reconciliation import CHECKS, find_discrepancies
from orders.usecases import cancel_order, fulfill_order, record_payment, return_units
from rollout.codepath import override
from tests.builders import (
    a_change,
    a_payment,
    given_account,
    given_hold,
    given_sku,
    given_stock,
    place,
)
from tests.committed import CommittedTestCase

# One corruption for each check: SQL that an honest program never runs.
CORRUPTIONS = {
    "counters equal the ledger": "UPDATE inventory_stocklevel SET on_hand = on_hand + 1",
    "the ledger has no gap": "UPDATE inventory_movement SET level_version = level_version + 1"
    " WHERE kind = 'allocate'",
    "each movement leads to its balances": "UPDATE inventory_movement"
    " SET on_hand_after = on_hand_after + 1 WHERE kind = 'allocate'",
    "allocated units are promised to orders": "UPDATE inventory_allocation"
    " SET released_units = released_units + 1",
    "waiting units are waited for by orders": "UPDATE inventory_allocation SET waiting_units = 1",
    "nobody waits for units that are there": "UPDATE inventory_stocklevel"
    " SET backorder_limit = 1, waiting = 1 WHERE allocated > 0",
    "held units are kept by holds": "UPDATE inventory_holdline SET units = 2",
    "each hold keeps what the ledger says": "UPDATE inventory_movement"
    " SET hold_id = gen_random_uuid() WHERE kind = 'hold'",
    "each hold keeps all until its end and nothing after it": "UPDATE inventory_hold"
    " SET expires_at = expires_at + interval '1 second'",
    "each hold was told once": "DELETE FROM events_event WHERE type = 'hold.placed'",
    "incoming units are under way": "UPDATE inventory_stocklevel SET incoming = 1",
    "each variance is booked once": "WITH s AS (INSERT INTO inventory_stocktake"
    " (id, location_id, status, reference, opened_by, closed_by, version, created_at)"
    " SELECT gen_random_uuid(), id, 'approved', '', '', '', 1, now() FROM inventory_location"
    " RETURNING id) INSERT INTO inventory_stocktakeline (stocktake_id, level_id, is_open,"
    " expected_units, books_units, counted_units, counted_by)"
    " SELECT s.id, l.id, false, 2, 2, 3, '' FROM s, inventory_stocklevel l",
    "each line has its units": "UPDATE orders_line SET quantity = 3, total_minor = 750",
    "each total is the sum of its lines and charges": "UPDATE orders_order"
    " SET total_minor = total_minor + 1",
    "each allocation is what the ledger says": "UPDATE inventory_allocation"
    " SET units = units + 1, released_units = released_units + 1",
    "each line is what became of its units": "UPDATE orders_line SET cancelled_quantity = 1",
    "what came back is in the ledger": "INSERT INTO orders_unitchange"
    " (order_id, order_version, position, kind, quantity, location, disposition, recorded_at)"
    " SELECT order_id, 1, 0, 'returned', 1, 'main', 'restock', now() FROM orders_line LIMIT 1",
    "each sum of money is what providers said": "UPDATE orders_order SET captured_minor = 1",
    "each status follows from the facts": "UPDATE orders_order SET status = 'cancelled'",
    "each change of an order was told": "UPDATE orders_order SET version = 2",
    "each order was told once": "DELETE FROM events_event WHERE type = 'order.placed'",
    "each order is the answer of one key": "DELETE FROM events_idempotencykey WHERE location <> ''",
    "each key has its answer": "INSERT INTO events_idempotencykey"
    " VALUES (1, 'k', '', NULL, '', '', '', now())",
}


class ReconcileTests(CommittedTestCase):
    def setUp(self):
        account = given_account()
        given_stock("CUP", on_hand=10)
        given_sku("GIFT-WRAP", is_tracked=False)
        given_hold({"CUP": 3}, account=account)
        with override(orders_place="v1"):
            place({"CUP": 2, "GIFT-WRAP": 1}, account=account)

    def test_finds_nothing_in_a_healthy_shop(self):
        self.assertEqual(list(find_discrepancies()), [])

    def test_finds_nothing_after_a_full_life(self):
        order = Order.objects.get()

        record_payment(a_change(order), payment=a_payment("captured", 300))
        fulfill_order(a_change(order), picks=[Pick(0, 1)])
        cancel_order(a_change(order), cuts=[Cut(0, 1)], reason="")
        fulfill_order(a_change(order), picks=None)
        return_units(
            a_change(order),
            comebacks=[Comeback(0, 1, "scrap", "main"), Comeback(1, 1, "restock", "main")],
            reason="",
        )
        record_payment(a_change(order), payment=a_payment("refunded", 100))

        order.refresh_from_db()
        self.assertEqual((order.status, order.version), ("confirmed", 7))
        self.assertEqual(list(find_discrepancies()), [])

    def test_every_check_finds_its_corruption(self):
        self.assertEqual(CORRUPTIONS.keys(), CHECKS.keys())
        for check, corruption in CORRUPTIONS.items():
            with self.subTest(check):
                self.corrupt(corruption)

                found = {discrepancy.check for discrepancy in find_discrepancies()}

                self.assertIn(check, found)
                self._fixture_teardown()
                self.setUp()

    def test_finds_units_promised_to_an_order_that_is_not_there(self):
        self.corrupt("UPDATE inventory_allocation SET order_id = gen_random_uuid()")

        found = Counter(d.check for d in find_discrepancies())

        self.assertEqual(
            found,
            {"each line has its units": 2, "each allocation is what the ledger says": 2},
        )

    def test_the_command_fails_and_names_what_it_found(self):
        self.corrupt(CORRUPTIONS["each key has its answer"])

        with self.assertRaisesMessage(CommandError, "1 discrepancies"):
            call_command("reconcile")

    def corrupt(self, statement):
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE inventory_movement DISABLE TRIGGER USER")
            cursor.execute(statement)
            cursor.execute("ALTER TABLE inventory_movement ENABLE TRIGGER USER")

"""The books balance, and reconcile tells when they do not."""

from django.core.management import CommandError, call_command
from django.db import connection, transaction

from inventory.usecases import release_order
from orders.models import Order
from orders.reconciliation import CHECKS, find_discrepancies
from rollout.codepath import override
from tests.builders import NOON, TESTER, given_account, given_sku, given_stock, place
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
    "each line has its units": "UPDATE orders_line SET quantity = 3, total_minor = 750",
    "each total is the sum of its lines and charges": "UPDATE orders_order"
    " SET total_minor = total_minor + 1",
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
        with override(orders_place="v1"):
            place({"CUP": 2, "GIFT-WRAP": 1}, account=account)

    def test_finds_nothing_in_a_healthy_shop(self):
        self.assertEqual(list(find_discrepancies()), [])

    def test_finds_nothing_after_a_release(self):
        with transaction.atomic():
            release_order(Order.objects.get().pk, provenance=TESTER, now=NOON)

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

        found = [d.check for d in find_discrepancies()]

        self.assertEqual(found, ["each line has its units"] * 2)

    def test_the_command_fails_and_names_what_it_found(self):
        self.corrupt(CORRUPTIONS["each order was told once"])

        with self.assertRaisesMessage(CommandError, "1 discrepancies"):
            call_command("reconcile")

    def corrupt(self, statement):
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE inventory_movement DISABLE TRIGGER USER")
            cursor.execute(statement)
            cursor.execute("ALTER TABLE inventory_movement ENABLE TRIGGER USER")

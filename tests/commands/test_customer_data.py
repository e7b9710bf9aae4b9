"""manage.py customer_data"""

import json
from io import StringIO

from django.core.management import CommandError, call_command

from orders.models import Erasure, Order
from tests.builders import given_account, given_stock, place
from tests.committed import CommittedTestCase


class CustomerDataTests(CommittedTestCase):
    def setUp(self):
        given_stock("CUP", on_hand=10)
        for _ in range(2):
            place({"CUP": 1}, account=given_account(), customer="c-17")

    def told(self, *arguments):
        told = StringIO()
        call_command("customer_data", *arguments, stdout=told)
        return told.getvalue()

    def test_export_is_one_json_document(self):
        told = json.loads(self.told("export", "c-17", "--account", "shop"))

        self.assertEqual((told["account"], told["customer"]), ("shop", "c-17"))
        self.assertEqual([order["customer"] for order in told["orders"]], ["c-17", "c-17"])

    def test_erase_says_what_it_did_and_keeps_who_and_why(self):
        options = ("--account", "shop", "--reason", "asked", "--by", "anna", "--open-too")

        told = self.told("erase", "c-17", *options)

        kept = Erasure.objects.get()
        self.assertEqual(
            told, f"2 orders, 0 notes, 0 events and 2 answers are now of {kept.customer}\n"
        )
        self.assertEqual((kept.actor, kept.reason), ("anna", "asked"))
        self.assertFalse(Order.objects.filter(customer="c-17").exists())

    def test_refusals_are_one_line_and_change_nothing(self):
        for arguments, line in (
            (("export", "c-18", "--account", "shop"), "There is no order of this customer."),
            (("export", "c-17", "--account", "nobody"), "there is no account nobody"),
            (
                ("erase", "c-17", "--account", "shop", "--reason", "asked"),
                "2 orders of this customer are not finished.",
            ),
        ):
            with self.subTest(line), self.assertRaises(CommandError) as caught:
                self.told(*arguments)
            self.assertEqual(str(caught.exception), line)

        self.assertEqual(Order.objects.filter(customer="c-17").count(), 2)
        self.assertFalse(Erasure.objects.exists())

"""One statement reads an order as the models do."""

from orders import storage
from orders.documents import stored_document
from orders.models import Line, Order
from orders.rules import OrderNotFound
from orders.states import Attention
from orders.storage import EVERY_ORDER
from orders.usecases import list_orders, place_order
from tests.builders import NOON, TESTER, a_draft, a_request, given_account, given_stock
from tests.committed import CommittedTestCase


class OrderReadingTests(CommittedTestCase):
    def setUp(self):
        for code in ("CUP", "POT"):
            given_stock(code, on_hand=100)
        self.account = given_account("shop").pk

    def placed(self, **draft):
        place_order(
            a_draft({"CUP": 3, "POT": 2}, **draft),
            request=a_request(account_id=self.account),
            provenance=TESTER,
            now=NOON,
        )
        return Order.objects.latest("number")

    def assert_read_alike(self, order):
        found = storage.get_order(order.pk, account_id=self.account)
        (listed,), _ = list_orders(
            account_id=self.account, where=EVERY_ORDER, before_id=None, limit=1
        )
        for read in (storage.read_order(order.pk, account_id=self.account), listed):
            assert stored_document(read) == stored_document(found)
            assert read.state == found.state

    def test_of_one_that_was_just_placed(self):
        self.assert_read_alike(self.placed())

    def test_of_one_with_all_that_an_order_can_have(self):
        order = self.placed(
            reference="PO-7",
            ship_to={"name": "Änne", "country": "AT"},
            metadata={"n": 2**53 - 1, "half": 0.5, "none": None, "text": '"'},
        )
        order.attention, order.version = next(iter(Attention)).value, 9
        order.captured_minor, order.pay_before = 500, NOON
        order.charges = [{"code": "SHIP", "name": "Post", "amount_minor": 490}]
        order.save()
        Line.objects.filter(order=order, sku="CUP").update(
            cancelled_quantity=1, fulfilled_quantity=2, returned_quantity=1, backordered=2
        )

        self.assert_read_alike(order)

    def test_is_one_statement(self):
        order = self.placed()
        with self.assertNumQueries(1):
            storage.read_order(order.pk, account_id=None)

    def test_finds_no_other_accounts_order(self):
        order = self.placed()
        for account_id in (self.account + 1, 0):
            with self.assertRaises(OrderNotFound):
                storage.read_order(order.pk, account_id=account_id)

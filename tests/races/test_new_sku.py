"""A SKU is made while an order for it waits for the stock of another."""

import threading

from django.db import connection

from events.usecases import TemporarilyUnavailable
from orders.models import Order
from orders.placement import place_together
from tests.builders import a_placement, given_account, given_sku, given_stock, what_moved
from tests.committed import CommittedTestCase


class NewSkuTests(CommittedTestCase):
    def test_an_order_that_waited_does_not_take_a_new_sku_for_one_without_stock(self):
        given_stock("CUP", on_hand=10)
        placement = a_placement({"CUP": 1, "NEW": 5}, account=given_account())
        told = []

        with self.somebody_doing("SELECT * FROM inventory_stocklevel FOR UPDATE"):
            order = threading.Thread(target=self.place, args=(placement, told))
            order.start()
            self.wait_for_one_who_waits()
            given_sku("NEW")
            before = what_moved()
        order.join()

        self.assertIsInstance(told[0], TemporarilyUnavailable)
        self.assertEqual(what_moved(), before)
        self.assertEqual(Order.objects.count(), 0)

    def place(self, placement, told):
        told.extend(place_together([placement]))
        connection.close()

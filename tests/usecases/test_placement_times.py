"""Orders that share a transaction have times of their own."""

from datetime import timedelta

import orjson
from django.test import TestCase

from events.models import Event
from inventory.models import Movement
from orders.models import Order
from orders.placement import place_together
from tests.builders import NOON, a_placement, given_account, given_stock


class PlacementTimesTests(TestCase):
    def test_stamps_each_order_of_a_batch_with_its_own_time(self):
        shop = given_account()
        given_stock("CUP", on_hand=10)
        times = [NOON, NOON + timedelta(hours=3), NOON + timedelta(hours=1)]

        told = place_together([a_placement(account=shop)._replace(now=time) for time in times])

        orders = Order.objects.order_by("number")
        self.assertEqual([order.placed_at for order in orders], times)
        self.assertEqual([order.updated_at for order in orders], times)
        for order, answer, time in zip(orders, told, times, strict=True):
            self.assertEqual(
                orjson.loads(answer.body)["placed_at"], time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            )
            self.assertEqual(Event.objects.get(aggregate_id=order.pk).occurred_at, time)
            self.assertEqual(Movement.objects.get(order_id=order.pk).created_at, time)

"""orders.place as a code path: who meets which version, and what opens its breaker."""

from unittest.mock import patch

from django.test import TestCase

from events.usecases import Answer, OutcomeUnknown, TemporarilyUnavailable
from inventory.models import Movement
from orders import codepaths
from orders.models import Order
from orders.placement import outcome_of_batch, whose_orders
from orders.rules import InsufficientStock
from orders.usecases import place_orders
from rollout.codepath import override
from rollout.errors import PathUnavailable
from tests.builders import a_placement, given_account, given_stock, place


class OutcomeTests:
    def test_a_batch_with_an_order_in_it_is_well(self):
        assert outcome_of_batch(None, [Answer(201, "{}"), InsufficientStock([])]) == "ok"

    def test_a_batch_that_is_refused_whole_is_a_reject(self):
        assert outcome_of_batch(None, [InsufficientStock([])]) == "reject"

    def test_trouble_of_one_transaction_is_one_error_for_all_its_orders(self):
        trouble = TemporarilyUnavailable()

        outcomes = [outcome_of_batch(None, [trouble]) for _ in range(3)]

        assert outcomes == ["error", "ignored", "ignored"]

    def test_each_trouble_counts(self):
        assert outcome_of_batch(None, [OutcomeUnknown()]) == "error"
        assert outcome_of_batch(None, [Answer(201, "{}"), KeyError("bug")]) == "error"

    def test_what_is_no_answer_is_an_error(self):
        for told in (None, "201", [None], [{"status": 201}], Answer(201, "{}")):
            assert outcome_of_batch(None, told) == "error", told

    def test_an_exception_of_the_version_is_an_error(self):
        assert outcome_of_batch(RuntimeError(), None) == "error"


class PlaceByRulesTests(TestCase):
    def test_tells_rules_the_account_and_a_customer_that_all_orders_share(self):
        account = given_account()
        one = a_placement(account=account, customer="c-1")
        other = a_placement(account=account, customer="c-2")

        self.assertEqual(whose_orders([one, one]), {"account": str(account.pk), "customer": "c-1"})
        self.assertEqual(whose_orders([one, other]), {"account": str(account.pk)})

    def test_what_stops_a_batch_is_not_told_of_those_that_were_placed_before_it(self):
        given_stock("CUP", on_hand=5)
        account = given_account()
        first, second = (a_placement(account=account, key=key) for key in ("k-1", "k-2"))
        place_alone = codepaths.place.versions["v1"]

        def stops_at_the_second(placements):
            if placements[0].request.key == "k-2":
                raise PathUnavailable("orders.place", retry_after_s=1)
            return place_alone(placements)

        with (
            override(orders_place="v1"),
            patch.dict(codepaths.place.versions, v1=stops_at_the_second),
            self.settings(ORDERS_BATCH_LINES_MAX=5),
        ):
            told = place_orders([first, second])

        self.assertEqual([type(one) for one in told], [Answer, PathUnavailable])
        self.assertEqual(Order.objects.count(), 1)

    def test_order_and_ledger_keep_the_version_and_the_generation_that_served_them(self):
        given_stock("CUP", on_hand=5)

        with override(orders_place="v1"):
            place({"CUP": 1}, account=given_account())

        order = Order.objects.get()
        movement = Movement.objects.get(kind="allocate")
        self.assertEqual((order.served_version, movement.served_version), ("v1", "v1"))
        self.assertIsNotNone(order.rules_generation)
        self.assertEqual(movement.rules_generation, order.rules_generation)

"""Units go from one location to another, and every one of them is accounted for."""

import orjson
from django.test import TestCase

from inventory import usecases
from inventory.models import Movement, StockLevel, Transfer
from rollout.codepath import override
from tests.builders import (
    NOON,
    TESTER,
    a_request,
    discrepancies,
    given_account,
    given_location,
    given_sku,
    given_stock,
    level_of,
    place,
    what_moved,
)


def transfers():
    return sorted(Transfer.objects.values_list())


class TransferTests(TestCase):
    def setUp(self):
        given_location("annex")
        given_stock("CUP", on_hand=10)

    def tearDown(self):
        self.assertEqual(discrepancies(), [])

    def send(self, quantity=4, request=None, **more):
        ends = {"sku": "CUP", "source": "main", "destination": "annex"} | more
        answer = usecases.send_transfer(
            request=request or a_request(),
            quantity=quantity,
            provenance=TESTER,
            now=NOON,
            **ends,
        )
        return orjson.loads(answer.body)["id"]

    def receive(self, transfer, quantity, **more):
        usecases.receive_transfer(
            request=a_request(),
            transfer_id=transfer,
            quantity=quantity,
            provenance=TESTER,
            now=NOON,
            **more,
        )

    def cancel(self, transfer):
        usecases.cancel_transfer(
            request=a_request(), transfer_id=transfer, provenance=TESTER, now=NOON
        )

    def stock(self):
        here, there = level_of("CUP"), level_of("CUP", "annex")
        return here.on_hand, there.incoming, there.on_hand

    def assert_refused(self, refusal, work, *, is_kept=True):
        before, papers = what_moved(), transfers()
        with self.assertRaises(refusal):
            work()
        kept = {"answered_keys": before["answered_keys"] + 1} if is_kept else {}
        self.assertEqual(what_moved(), before | kept)
        self.assertEqual(transfers(), papers)

    def test_what_is_sent_is_incoming_until_it_is_received(self):
        transfer = self.send(4)
        self.assertEqual(self.stock(), (6, 4, 0))

        self.receive(transfer, 4)

        self.assertEqual(self.stock(), (6, 0, 4))
        self.assertEqual(Transfer.objects.get().closed_at, NOON)

    def test_sends_once_for_a_key(self):
        request = a_request("van-7")

        self.assertEqual(self.send(4, request), self.send(4, request))
        self.assertEqual(self.stock(), (6, 4, 0))

    def test_may_arrive_in_parts(self):
        transfer = self.send(4)

        self.receive(transfer, 1, is_last=False)
        self.assertEqual(self.stock(), (6, 3, 1))
        self.receive(transfer, 3)

        self.assertEqual(self.stock(), (6, 0, 4))

    def test_writes_off_what_is_missing_with_its_reason(self):
        self.receive(self.send(4), 3, reason="damage")

        self.assertEqual(self.stock(), (6, 0, 3))
        row = Movement.objects.latest("id")
        self.assertEqual((row.kind, row.incoming_change, row.reason), ("adjust", -1, "damage"))
        self.assertEqual(Transfer.objects.get().missing_units, 1)

    def test_puts_on_hand_what_came_too_much_with_its_reason(self):
        self.receive(self.send(4), 5, reason="found")

        self.assertEqual(self.stock(), (6, 0, 5))
        self.assertEqual(Transfer.objects.get().surplus_units, 1)

    def test_refuses_a_discrepancy_without_a_reason(self):
        transfer = self.send(4)

        for quantity in (3, 5):
            self.assert_refused(
                usecases.ReasonMissing, lambda n=quantity: self.receive(transfer, n), is_kept=False
            )

    def test_cancelled_goes_back_where_it_came_from(self):
        transfer = self.send(4)
        self.receive(transfer, 1, is_last=False)

        self.cancel(transfer)

        self.assertEqual(self.stock(), (9, 0, 1))
        self.assertEqual(Transfer.objects.get().returned_units, 3)

    def test_refuses_to_do_anything_to_one_that_is_done(self):
        transfer = self.send(4)
        self.receive(transfer, 4)

        self.assert_refused(usecases.TransferClosed, lambda: self.receive(transfer, 1))
        self.assert_refused(usecases.TransferClosed, lambda: self.cancel(transfer))

    def test_refuses_to_send_away_what_is_promised_or_in_quarantine(self):
        with override(orders_place="v1"):
            place({"CUP": 3}, account=given_account())
        usecases.quarantine_stock(
            request=a_request(),
            sku="CUP",
            delta=2,
            reason="recall",
            provenance=TESTER,
            now=NOON,
        )

        self.assert_refused(usecases.StockNotFree, lambda: self.send(6))
        self.send(5)

    def test_refuses_ends_that_are_not_there(self):
        given_sku("WRAP", is_tracked=False)

        for refusal, more, is_kept in (
            (usecases.SameLocation, {"destination": "main"}, False),
            (usecases.LocationNotFound, {"destination": "moon"}, False),
            (usecases.SkuNotFound, {"sku": "NONE"}, False),
            (usecases.SkuUntracked, {"sku": "WRAP"}, True),
        ):
            self.assert_refused(refusal, lambda more=more: self.send(**more), is_kept=is_kept)

    def test_what_arrives_goes_to_who_waits_there(self):
        usecases.update_sku("CUP", sell_policy="backorder")
        usecases.update_location("main", is_active=False)
        transfer = self.send(4)
        StockLevel.objects.filter(location__code="annex").update(backorder_limit=9)
        with override(orders_place="v1"):
            place({"CUP": 3}, account=given_account(), allow_backorder=True)
        self.assertEqual(level_of("CUP", "annex").waiting, 3)

        self.receive(transfer, 4)

        self.assertEqual(level_of("CUP", "annex").waiting, 0)

    def test_lists_what_is_under_way_newest_first(self):
        done, first, second = self.send(1), self.send(2), self.send(3)
        self.receive(done, 1)

        page, before = usecases.list_transfers(is_open=True, limit=1)
        rest, end = usecases.list_transfers(is_open=True, before_id=before, limit=1)

        self.assertEqual([str(page[0].pk), str(rest[0].pk), end], [second, first, None])

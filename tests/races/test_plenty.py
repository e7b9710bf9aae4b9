"""Stock of which there was plenty when it was read is taken by others before it is written."""

import threading
from unittest import mock

from django.db import connection

from events.usecases import Answer
from inventory.models import Movement, StockLevel
from inventory.usecases import read_stock
from orders import placement
from orders.models import Order
from orders.placement import place_together
from orders.scarcity import Scarce
from orders.usecases import InsufficientStock
from tests.builders import a_placement, given_account, given_stock, level_of, what_moved
from tests.committed import CommittedTestCase


class PlentyTests(CommittedTestCase):
    def setUp(self):
        self.account = given_account()
        given_stock("CUP", on_hand=100)
        given_stock("POT", on_hand=100)
        self.enterContext(mock.patch.object(placement, "scarce", Scarce()))

    def place(self, *units):
        """Place orders as those of one group are placed."""
        placements = [a_placement(each, account=self.account) for each in units]
        return place_together(placements, is_patient=False)

    def place_while(self, meanwhile, *units):
        """Place orders of which the stock is read before something happens, and written after."""
        here, reads = threading.current_thread(), []

        def read(codes):
            found = read_stock(codes)
            if threading.current_thread() is here:
                reads.append(codes)
                other = threading.Thread(target=self.in_a_thread, args=(meanwhile,))
                other.start()
                other.join()
            return found

        with mock.patch.object(placement, "read_stock", read):
            told = self.place(*units)
        assert len(reads) == 1  # Whoever hoped in vain locks the stock the next time.
        return told

    def test_what_was_moved_while_the_lock_was_waited_for_is_counted_on(self):
        pot = StockLevel.objects.get(sku__code="POT")
        with self.a_session() as theirs:
            theirs.execute(
                "UPDATE inventory_stocklevel SET on_hand = on_hand - 1, version = version + 1"
                " WHERE id = %s",
                (pot.pk,),
            )
            told = []
            ours = threading.Thread(
                target=self.in_a_thread,
                args=(lambda: told.extend(self.place(*[{"CUP": 1, "POT": 2}] * 3)),),
            )
            with mock.patch.object(placement, "LOCK_WAIT_MS", 10_000):
                ours.start()
                self.wait_for_one_who_waits()
                theirs.commit()
                ours.join()

        assert [type(each) for each in told] == [Answer] * 3
        rows = Movement.objects.filter(level=pot, kind="allocate").order_by("level_version")
        assert [(row.level_version, row.on_hand_after, row.allocated_after) for row in rows] == [
            (3, 99, 2),
            (4, 99, 4),
            (5, 99, 6),
        ]
        assert (level_of("POT").allocated, level_of("POT").version) == (6, 5)
        assert level_of("CUP").allocated == 3

    def test_safety_stock_that_was_set_while_the_lock_was_waited_for_counts(self):
        with self.a_session() as theirs:
            theirs.execute("UPDATE inventory_stocklevel SET safety = 99")
            told = []
            ours = threading.Thread(
                target=self.in_a_thread, args=(lambda: told.extend(self.place({"CUP": 2})),)
            )
            with mock.patch.object(placement, "LOCK_WAIT_MS", 10_000):
                ours.start()
                self.wait_for_one_who_waits()
                theirs.commit()
                ours.join()

        assert [type(each) for each in told] == [InsufficientStock]
        assert level_of("CUP").allocated == 0
        assert not Order.objects.exists()

    @staticmethod
    def in_a_thread(run):
        run()
        connection.close()

    def test_an_order_gets_what_is_left(self):
        told = self.place_while(lambda: self.place({"CUP": 9}, {"CUP": 6}), {"CUP": 2}, {"CUP": 3})

        assert [type(each) for each in told] == [Answer, Answer]
        assert (level_of("CUP").allocated, level_of("CUP").version) == (20, 5)

    def test_an_order_that_came_too_late_is_refused_with_what_there_is(self):
        def sell_out():
            for _ in range(24):
                self.place({"CUP": 4})
            self.before = what_moved()

        (told,) = self.place_while(sell_out, {"CUP": 5, "POT": 1})

        assert isinstance(told, InsufficientStock)
        assert [error["available"] for error in told.errors] == [4]
        self.before["answered_keys"] += 1  # Its own, with this refusal.
        assert what_moved() == self.before

    def test_of_a_group_those_are_served_for_whom_there_is_enough(self):
        told = self.place_while(
            lambda: [self.place({"CUP": 8}) for _ in range(12)],
            {"CUP": 3}, {"POT": 1}, {"CUP": 2}, {"CUP": 1},
        )  # fmt: skip

        assert [type(each) for each in told] == [Answer, Answer, InsufficientStock, Answer]
        assert (level_of("CUP").allocated, level_of("POT").allocated) == (100, 1)
        assert Order.objects.count() == 12 + 3

    def test_many_who_hope_at_once_never_sell_what_is_not_there(self):
        given_stock("MUG", on_hand=500)
        told = []

        def buy():
            for _ in range(20):
                told.extend(self.place(*[{"MUG": 1}] * 10))
            connection.close()

        buyers = [threading.Thread(target=buy) for _ in range(4)]
        # Whoever waits for a lock, also while the machine stands still, waits until it is had.
        with mock.patch.object(placement, "LOCK_WAIT_MS", 10_000):
            for buyer in buyers:
                buyer.start()
            for buyer in buyers:
                buyer.join()

        assert sum(isinstance(each, Answer) for each in told) == 500
        assert {type(each) for each in told} == {Answer, InsufficientStock}
        assert level_of("MUG").allocated == 500

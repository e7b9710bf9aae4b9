"""A batch that met trouble leaves no work for the garbage collector, as others leave none."""

import gc
from unittest import mock

from django.db import connection

from events.usecases import Answer, LockNotHad
from inventory.usecases import read_stock
from orders import placement
from orders.lanes import StockBusy
from orders.models import Order
from orders.placement import place_together
from orders.usecases import InsufficientStock
from tests.builders import a_placement, given_account, given_stock
from tests.committed import CommittedTestCase

BATCHES = 5


class BatchGarbageTests(CommittedTestCase):
    def setUp(self):
        self.account = given_account()
        given_stock("CUP", on_hand=1000)

    def garbage_of_batches(self, *, is_patient, orders=10):
        """Return how many objects each leaves that only the collector can free; what was told."""
        told = self.place(orders, is_patient=is_patient)
        gc.collect()
        gc.disable()
        try:
            for _ in range(BATCHES):
                told += self.place(orders, is_patient=is_patient)
            left = gc.collect()
        finally:
            gc.enable()
        return left / BATCHES, {type(each) for each in told}

    def place(self, orders, *, is_patient):
        batch = [a_placement({"CUP": 1}, account=self.account) for _ in range(orders)]
        return place_together(batch, is_patient=is_patient)

    def test_of_one_that_finds_its_stock_locked_is_none(self):
        impatiently = mock.patch.dict(
            connection.settings_dict["OPTIONS"], options="-c lock_timeout=20ms"
        )
        cases = ((False, 10, StockBusy), (True, 10, StockBusy), (True, 1, LockNotHad))
        for is_patient, orders, refusal in cases:
            connection.close()
            with (
                self.subTest(is_patient=is_patient, orders=orders),
                mock.patch.object(placement, "LOCK_WAIT_MS", 20),
                impatiently,
                self.somebody_doing("SELECT 1 FROM inventory_stocklevel FOR UPDATE"),
            ):
                left, told = self.garbage_of_batches(is_patient=is_patient, orders=orders)

                assert told == {refusal}
                assert left < 1
        connection.close()
        assert not Order.objects.exists()

    def test_of_one_that_hoped_in_vain_is_none(self):
        def read_too_early(codes):
            with self.a_session() as theirs:
                theirs.execute("UPDATE inventory_stocklevel SET allocated = 0")
                theirs.commit()
                found = read_stock(codes)
                theirs.execute("UPDATE inventory_stocklevel SET allocated = on_hand - 1")
                theirs.commit()
            return found

        with mock.patch.object(placement, "read_stock", read_too_early):
            left, told = self.garbage_of_batches(is_patient=False)

        assert told == {Answer, InsufficientStock}
        assert left < 1
        assert Order.objects.count() == BATCHES + 1

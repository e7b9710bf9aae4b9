"""The lanes of group commit: who waits for a lock keeps nobody else waiting."""

import threading
from collections.abc import Sequence

from django.test import SimpleTestCase

from events.usecases import LockNotHad
from orders.lanes import Lanes, StockBusy
from tests.races.test_intake import PATIENCE_S, Caller, wait_until


class Shop:
    """Sells what is not locked; who is patient waits for what is until it gives up."""

    def __init__(self) -> None:
        self.locked = {"HOT"}
        self.given_up = threading.Event()
        self.tries: list[tuple[str, bool]] = []

    def __call__(self, codes: Sequence[str], *, is_patient: bool) -> list[str | Exception]:
        self.tries += [(code, is_patient) for code in codes]
        if is_patient and self.locked.intersection(codes):
            assert self.given_up.wait(PATIENCE_S)
        return [self.sold(code, is_patient=is_patient) for code in codes]

    def sold(self, code: str, *, is_patient: bool) -> str | Exception:
        if code in self.locked:
            return LockNotHad() if is_patient else StockBusy({code})
        return f"sold {code}"


class LanesTests(SimpleTestCase):
    def setUp(self):
        self.shop = Shop()
        self.lanes = Lanes(
            self.shop,
            codes_of=lambda code: {code},
            beside=2,
            weigh=lambda _: 1,
            batch_weight_max=100,
        )

    def given_one_that_waits(self):
        caller = Caller(self.lanes, "HOT")
        wait_until(lambda: ("HOT", True) in self.shop.tries)
        return caller

    def test_others_go_on_while_one_waits(self):
        waiting = self.given_one_that_waits()

        self.assertEqual(self.lanes.submit(["COLD"]), ["sold COLD"])
        self.assertTrue(waiting.is_alive())
        self.shop.given_up.set()
        self.assertIsInstance(waiting.outcome()[0], LockNotHad)

    def test_who_waits_for_another_lock_waits_in_another_lane(self):
        waiting = self.given_one_that_waits()
        self.shop.locked.add("WARM")

        other = Caller(self.lanes, "WARM")
        wait_until(lambda: ("WARM", True) in self.shop.tries)

        self.shop.given_up.set()
        self.assertIsInstance(waiting.outcome()[0], LockNotHad)
        self.assertIsInstance(other.outcome()[0], LockNotHad)

    def test_who_was_refused_with_others_waits_for_what_it_names_alone(self):
        self.shop.locked.add("WARM")
        self.shop.sold = lambda code, **how: (
            StockBusy(set(self.shop.locked))
            if code in self.shop.locked and not how["is_patient"]
            else Shop.sold(self.shop, code, **how)
        )
        waiting = self.given_one_that_waits()
        other = Caller(self.lanes, "WARM")
        wait_until(lambda: ("WARM", True) in self.shop.tries)
        self.shop.tries.clear()

        self.assertEqual(self.lanes.submit(["COLD"]), ["sold COLD"])
        self.shop.given_up.set()

        self.assertIsInstance(waiting.outcome()[0], LockNotHad)
        self.assertIsInstance(other.outcome()[0], LockNotHad)
        self.assertEqual(self.shop.tries, [("COLD", False)])

    def test_who_queued_before_its_stock_was_known_to_be_busy_is_not_tried_among_the_others(self):
        began, go_on = threading.Event(), threading.Event()
        sold = self.shop.sold

        def sold_slowly(code: str, *, is_patient: bool) -> str | Exception:
            began.set()
            assert go_on.wait(PATIENCE_S)
            return sold(code, is_patient=is_patient)

        self.shop.sold = sold_slowly
        self.shop.given_up.set()
        first = Caller(self.lanes, "HOT")
        assert began.wait(PATIENCE_S)
        queued = [Caller(self.lanes, code) for code in ("HOT", "COLD")]
        wait_until(lambda: len(self.lanes._main._queue) == 2)
        go_on.set()

        told = [caller.outcome()[0] for caller in (first, *queued)]

        self.assertEqual([type(one) for one in told], [LockNotHad, LockNotHad, str])
        self.assertEqual(
            [code for code, is_patient in self.shop.tries if not is_patient], ["HOT", "COLD"]
        )

    def test_what_was_had_leaves_its_lane_whoever_still_waits_there(self):
        self.shop.given_up.set()
        self.lanes.submit(["HOT"])
        self.shop.given_up.clear()
        waiting = Caller(self.lanes, "HOT")
        wait_until(lambda: self.shop.tries[-1] == ("HOT", True) and len(self.shop.tries) == 3)
        queued = Caller(self.lanes, "HOT")
        self.shop.locked.clear()
        self.shop.given_up.set()

        self.assertEqual((waiting.outcome(), queued.outcome()), (["sold HOT"], ["sold HOT"]))
        self.lanes.submit(["HOT"])
        self.assertEqual(self.shop.tries[-1], ("HOT", False))

    def test_a_locked_table_gives_no_sku_a_lane(self):
        self.shop.given_up.set()
        self.shop.sold = lambda code, **how: (
            f"sold {code}" if how["is_patient"] else StockBusy(frozenset())
        )

        self.assertEqual(self.lanes.submit(["CUP"]), ["sold CUP"])
        self.assertEqual(self.lanes.submit(["CUP"]), ["sold CUP"])
        self.assertEqual(self.shop.tries, [("CUP", False), ("CUP", True)] * 2)

    def test_who_waits_gets_what_is_free_in_time(self):
        waiting = self.given_one_that_waits()

        self.shop.locked.clear()
        self.shop.given_up.set()

        self.assertEqual(waiting.outcome(), ["sold HOT"])

    def test_of_one_call_only_what_is_locked_waits_and_each_gets_its_own_outcome(self):
        self.shop.given_up.set()

        first, second, third = self.lanes.submit(["CUP", "HOT", "POT"])

        self.assertEqual((first, third), ("sold CUP", "sold POT"))
        self.assertIs(type(second), LockNotHad)
        self.assertEqual(
            self.shop.tries, [("CUP", False), ("HOT", False), ("POT", False), ("HOT", True)]
        )

    def test_what_was_not_had_is_not_tried_before_all_others_until_it_was_had(self):
        self.shop.given_up.set()
        self.lanes.submit(["HOT"])
        self.shop.tries.clear()

        self.lanes.submit(["HOT"])
        self.shop.locked.clear()
        self.lanes.submit(["HOT"])
        self.lanes.submit(["HOT"])

        self.assertEqual(self.shop.tries, [("HOT", True), ("HOT", True), ("HOT", False)])

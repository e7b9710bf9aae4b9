"""The gate by itself: who comes in, who waits, who is turned away."""

import threading
import time
import unittest

import pytest

from config.gate import Gate, Overloaded, Rank, places_of, rank_of


def a_gate(**limits) -> Gate:
    return Gate(**{"orders_max": 10, "others_max": 1, "waiting_max": 2, "wait_s_max": 5} | limits)


class RankTests(unittest.TestCase):
    def test_each_kind_of_call_has_its_rank(self):
        order = "/api/v1/orders/0197f0a1-7c3e-7d52-9f6b-2b1f0f4c8a11"
        for method, path, rank in (
            ("POST", "/api/v1/orders", Rank.PLACE),
            ("POST", "/api/v1/orders/bulk", Rank.PLACE),
            ("POST", "/api/v1/rollout/kill", Rank.PLACE),
            ("GET", order, Rank.READ_ONE),
            ("HEAD", order, Rank.READ_ONE),
            ("GET", "/api/v1/orders/export", Rank.OFFICE),
            ("GET", "/api/v1/stock/CUP", Rank.READ_ONE),
            ("POST", "/api/v1/stock/availability", Rank.READ_ONE),
            ("POST", f"{order}/cancel", Rank.CHANGE),
            ("POST", "/api/v1/stock/CUP/receipts", Rank.CHANGE),
            ("PATCH", "/api/v1/skus/CUP", Rank.CHANGE),
            ("GET", "/api/v1/orders", Rank.LIST),
            ("GET", f"{order}/events", Rank.LIST),
            ("GET", "/api/v1/stock/CUP/movements", Rank.LIST),
            ("GET", "/api/v1/rollout/status", Rank.OFFICE),
            ("GET", "/admin/orders/order/", Rank.OFFICE),
            ("POST", "/admin/login/", Rank.OFFICE),
            ("GET", "/static/admin/css/base.css", Rank.OFFICE),
            ("GET", "/nowhere", Rank.OFFICE),
        ):
            assert rank_of(method, path) == rank, (method, path)

    def test_only_orders_take_places_in_their_lane(self):
        assert places_of("POST", "/api/v1/orders", body_bytes=5000) == 1
        assert places_of("POST", "/api/v1/orders/bulk", body_bytes=100) == 1
        assert places_of("POST", "/api/v1/orders/bulk", body_bytes=60 * 1024) == 61
        assert places_of("GET", "/api/v1/orders", body_bytes=0) == 0
        assert places_of("POST", "/api/v1/stock/CUP/receipts", body_bytes=100) == 0


class LaneOfOrdersTests(unittest.TestCase):
    def test_lets_in_as_many_as_it_has_places(self):
        gate = a_gate(orders_max=2)
        gate.enter(Rank.PLACE, places=1)
        gate.enter(Rank.PLACE, places=1)

        with pytest.raises(Overloaded):
            gate.enter(Rank.PLACE, places=1)
        assert gate.orders == 2

        gate.leave(places=1)
        gate.enter(Rank.PLACE, places=1)
        assert gate.orders == 2

    def test_a_bulk_larger_than_the_lane_comes_in_when_it_is_empty(self):
        gate = a_gate(orders_max=2)
        gate.enter(Rank.PLACE, places=61)

        with pytest.raises(Overloaded):
            gate.enter(Rank.PLACE, places=1)
        gate.leave(places=61)

        assert gate.orders == 0

    def test_lists_give_way_before_reads_of_one(self):
        gate = a_gate(others_max=9)
        refused = {}
        for orders in range(1, 11):
            gate.enter(Rank.PLACE, places=1)
            for rank in Rank:
                try:
                    gate.enter(rank)
                    gate.leave()
                except Overloaded as refusal:
                    refused.setdefault(rank, (orders, refusal.reason))

        assert refused == {
            Rank.READ_ONE: (9, "behind_orders"),
            Rank.CHANGE: (7, "behind_orders"),
            Rank.LIST: (5, "behind_orders"),
            Rank.OFFICE: (5, "behind_orders"),
        }
        assert gate.others == 0


class QueueTests(unittest.TestCase):
    def setUp(self):
        self.told: list[tuple[Rank, str]] = []
        self.threads: list[threading.Thread] = []

    def come(self, gate: Gate, rank: Rank, *, stays: bool = False) -> None:
        """Let somebody ask for a place in a thread, and go on once it waits or is answered."""
        before = gate.waiting, len(self.told)
        thread = threading.Thread(target=self.ask, args=(gate, rank, stays))
        thread.start()
        self.threads.append(thread)
        while (gate.waiting, len(self.told)) == before:
            time.sleep(0.001)

    def ask(self, gate: Gate, rank: Rank, stays: bool) -> None:
        try:
            gate.enter(rank)
        except Overloaded as refusal:
            self.told.append((rank, refusal.reason))
        else:
            self.told.append((rank, "in"))
            if not stays:
                gate.leave()

    def end(self) -> list[tuple[Rank, str]]:
        for thread in self.threads:
            thread.join(5)
        return self.told

    def test_the_most_important_that_waits_comes_in_first(self):
        gate = a_gate(waiting_max=4)
        gate.enter(Rank.LIST)
        for rank in (Rank.OFFICE, Rank.LIST, Rank.READ_ONE, Rank.CHANGE):
            self.come(gate, rank)

        gate.leave()

        assert self.end() == [
            (Rank.READ_ONE, "in"),
            (Rank.CHANGE, "in"),
            (Rank.LIST, "in"),
            (Rank.OFFICE, "in"),
        ]
        assert (gate.others, gate.waiting) == (0, 0)

    def test_a_full_queue_turns_the_least_important_away(self):
        gate = a_gate(waiting_max=2)
        gate.enter(Rank.LIST)
        self.come(gate, Rank.LIST)
        self.come(gate, Rank.OFFICE)

        self.come(gate, Rank.READ_ONE)
        while not self.told:
            time.sleep(0.001)
        assert self.told == [(Rank.OFFICE, "full")]
        with pytest.raises(Overloaded):
            gate.enter(Rank.LIST)

        gate.leave()
        assert self.end()[1:] == [(Rank.READ_ONE, "in"), (Rank.LIST, "in")]
        assert (gate.others, gate.waiting) == (0, 0)

    def test_nobody_waits_for_longer_than_is_allowed(self):
        gate = a_gate(wait_s_max=0.01)
        gate.enter(Rank.LIST)

        with pytest.raises(Overloaded) as refused:
            gate.enter(Rank.READ_ONE)

        assert refused.value.reason == "waited"
        assert (gate.others, gate.waiting) == (1, 0)
        gate.leave()
        assert gate.enter(Rank.READ_ONE) == 0.0

    def test_who_would_wait_too_long_hears_it_at_once(self):
        now = [0.0]
        gate = a_gate(wait_s_max=5, waiting_max=100, clock=lambda: now[0])
        gate.enter(Rank.LIST)
        for _ in range(9):
            self.come(gate, Rank.LIST, stays=True)
        for freed in range(1, 10):
            now[0] += 4  # A place is free every 4 s.
            gate.leave()
            while len(self.told) < freed:
                time.sleep(0.001)

        self.come(gate, Rank.READ_ONE, stays=True)  # Nobody is before it.
        with pytest.raises(Overloaded) as refused:
            gate.enter(Rank.OFFICE)  # One is.

        assert refused.value.reason == "full"
        assert gate.waiting == 1
        gate.leave()
        self.end()
        gate.leave()
        assert (gate.others, gate.waiting) == (0, 0)

"""Token buckets: how often something may be done."""

import unittest

from accounts.limits import TokenBuckets
from accounts.rules import client_address


class TokenBucketTests(unittest.TestCase):
    def setUp(self):
        self.now = 100.0
        self.buckets = TokenBuckets(buckets_max=3, clock=lambda: self.now)

    def take(self, name="shop"):
        return self.buckets.take(name, per_s=2, burst=3)

    def test_lets_a_burst_through_and_then_says_when(self):
        assert [self.take() for _ in range(5)] == [0.0, 0.0, 0.0, 0.5, 0.5]

    def test_fills_evenly_and_no_further_than_a_burst(self):
        for _ in range(3):
            self.take()

        self.now += 0.5
        assert [self.take(), self.take()] == [0.0, 0.5]
        self.now += 60
        assert [self.take() for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]

    def test_names_do_not_share(self):
        for _ in range(4):
            self.take("one")

        assert self.take("another") == 0.0

    def test_looking_takes_nothing(self):
        for _ in range(9):
            assert self.buckets.wait_s("shop", per_s=2, burst=3) == 0.0

        assert len(self.buckets) == 0

    def test_forgets_what_was_not_used_for_the_longest_time(self):
        for name in ("a", "b", "c", "a", "d"):
            self.take(name)

        assert len(self.buckets) == 3
        assert list(self.buckets._buckets) == ["c", "a", "d"]


class ClientAddressTests(unittest.TestCase):
    def test_believes_as_many_words_as_there_are_proxies(self):
        claimed = "6.6.6.6, 198.51.100.7, 10.0.0.2"

        assert client_address("10.0.0.1", claimed, proxies=0) == "10.0.0.1"
        assert client_address("10.0.0.1", claimed, proxies=1) == "10.0.0.2"
        assert client_address("10.0.0.1", claimed, proxies=2) == "198.51.100.7"
        assert client_address("10.0.0.1", "", proxies=1) == "10.0.0.1"

"""What one process remembers of keys, without a database."""

import threading
from unittest import TestCase

from accounts.errors import Unauthenticated
from accounts.keyring import Keyring
from accounts.rules import Grant
from accounts.usecases import Caller


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


def caller(key_id=1):
    return Caller(user=None, grant=Grant(key_id, "sk_", frozenset()), expires_at=None)


class KeyringTests(TestCase):
    def setUp(self):
        self.clock = Clock()
        self.keyring = Keyring(clock=self.clock, keys_max=3)
        self.queries = 0

    def look_up(self):
        self.queries += 1
        return caller()

    def test_asks_once_a_second(self):
        for seconds in (100.0, 100.5, 100.999, 101.0, 101.5, 102.0):
            self.clock.seconds = seconds
            self.keyring.ask("a", self.look_up)

        self.assertEqual(self.queries, 3)

    def test_the_second_counts_from_before_the_query(self):
        def slow():
            self.clock.seconds += 0.9
            return caller()

        self.keyring.ask("a", slow)

        self.clock.seconds = 100.95
        self.assertIsNotNone(self.keyring.find("a"))
        self.clock.seconds = 101.0
        self.assertIsNone(self.keyring.find("a"))

    def test_remembers_no_refusal(self):
        def refuse():
            raise Unauthenticated("unknown")

        with self.assertRaises(Unauthenticated):
            self.keyring.ask("a", refuse)

        self.assertIsNone(self.keyring.find("a"))
        self.assertEqual(self.keyring.ask("a", self.look_up), caller())

    def test_drops_the_oldest_when_full(self):
        for digest in "abcd":
            self.keyring.ask(digest, self.look_up)

        self.assertIsNone(self.keyring.find("a"))
        self.assertEqual([bool(self.keyring.find(digest)) for digest in "bcd"], [True] * 3)

    def test_many_at_once_share_one_query(self):
        begun, may_end = threading.Event(), threading.Event()

        def slow():
            begun.set()
            self.assertTrue(may_end.wait(5))
            return self.look_up()

        answers = []
        leader = threading.Thread(target=lambda: answers.append(self.keyring.ask("a", slow)))
        leader.start()
        self.assertTrue(begun.wait(5))
        followers = [
            threading.Thread(target=lambda: answers.append(self.keyring.ask("a", self.look_up)))
            for _ in range(8)
        ]
        for follower in followers:
            follower.start()
        may_end.set()
        for thread in (leader, *followers):
            thread.join(5)

        self.assertEqual(self.queries, 1)
        self.assertEqual(answers, [caller()] * 9)

    def test_a_look_up_that_is_killed_leaves_the_next_to_another(self):
        def killed():
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            self.keyring.ask("a", killed)

        self.assertEqual(self.keyring.ask("a", self.look_up), caller())

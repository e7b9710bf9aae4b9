"""manage.py expire_holds"""

import os
import signal
import threading
from io import StringIO

from django.core.management import call_command
from django.db import connection

from inventory.models import Hold, Movement
from tests.builders import given_account, given_hold, given_stock, let_pass, level_of
from tests.committed import CommittedTestCase


class ExpireHoldsTests(CommittedTestCase):
    def setUp(self):
        given_stock("CUP", on_hand=10)
        self.past = [given_hold({"CUP": 2}, account=given_account()) for _ in range(2)]
        self.live = given_hold({"CUP": 3}, account=given_account())
        let_pass(*self.past)

    def swept(self, *options):
        told = StringIO()
        call_command("expire_holds", *options, stdout=told)
        return told.getvalue()

    def test_gives_back_what_expired_holds_keep_and_says_how_many(self):
        self.assertEqual(self.swept(), "2 holds expired\n")
        self.assertEqual(self.swept(), "0 holds expired\n")

        self.assertEqual(level_of("CUP").held, 3)
        self.assertEqual(Hold.objects.get(pk=self.live).state, "live")
        movements = Movement.objects.filter(kind="expire")
        self.assertEqual({(m.actor, m.source) for m in movements}, {("expire_holds", "command")})

    def test_goes_on_until_it_is_told_to_stop(self):
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        stop = threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM))
        stop.start()

        told = self.swept("--every", "0.05")

        stop.join()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        self.assertEqual(told, "2 holds expired\n")

    def test_sweeps_a_hold_whose_stock_was_busy_once_that_is_free(self):
        def sweep():
            self.swept()
            connection.close()

        busy, release = threading.Event(), threading.Event()

        def keep_stock_busy():
            with connection.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("SELECT 1 FROM inventory_stocklevel FOR UPDATE")
                busy.set()
                release.wait(20)
                cursor.execute("ROLLBACK")
            connection.close()

        keeper = threading.Thread(target=keep_stock_busy)
        keeper.start()
        self.assertTrue(busy.wait(20))
        sweeper = threading.Thread(target=sweep)
        sweeper.start()
        sweeper.join(0.2)
        self.assertTrue(sweeper.is_alive())
        release.set()
        for thread in (sweeper, keeper):
            thread.join(20)

        self.assertEqual(level_of("CUP").held, 3)

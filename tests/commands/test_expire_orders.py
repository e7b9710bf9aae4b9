"""manage.py expire_orders"""

import os
import signal
import subprocess
import sys
from urllib.parse import urlsplit

from django.db import connection

from orders.models import Order
from tests.builders import NOON, given_account, given_stock, level_of, place
from tests.commands.processes import PROJECT, wait_until
from tests.committed import CommittedTestCase


class SweeperTests(CommittedTestCase):
    def setUp(self):
        given_stock("CUP", on_hand=10)
        place({"CUP": 3}, account=given_account(), pay_within_s=60)
        Order.objects.update(pay_before=NOON.replace(year=2020))

    def start(self):
        name = connection.settings_dict["NAME"]
        url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()
        return subprocess.Popen(
            [sys.executable, "manage.py", "expire_orders", "--every", "0.2"],
            cwd=PROJECT,
            env=os.environ | {"DATABASE_URL": url, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def test_goes_on_until_it_is_ended_and_expires_each_order_once(self):
        sweeper = self.start()
        try:
            wait_until(lambda: Order.objects.get().status == "expired", seconds=60)
        finally:
            sweeper.send_signal(signal.SIGTERM)
            told, _ = sweeper.communicate(timeout=30)

        self.assertEqual(told, "1 orders expired\n")
        self.assertEqual(sweeper.returncode, 0)
        self.assertEqual(Order.objects.get().version, 2)
        self.assertEqual((level_of("CUP").on_hand, level_of("CUP").allocated), (10, 0))

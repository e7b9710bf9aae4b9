"""Two at once: keys and links on real connections."""

import subprocess
import sys
import threading
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import SimpleTestCase, TransactionTestCase
from django.utils import timezone

from accounts import rules, usecases
from accounts.models import ApiKey, LoginLink

HOUR = timedelta(hours=1)
CALLERS = 8

KEYRING_UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent, time
from accounts.keyring import Keyring
keyring, queries = Keyring(), []
def look_up():
    queries.append(1)
    time.sleep(0.05)
    return "caller"
greenlets = [gevent.spawn(keyring.ask, "a", look_up) for _ in range(200)]
gevent.joinall(greenlets, timeout=5, raise_error=True)
print(len(queries), {greenlet.value for greenlet in greenlets})
# One that dies while it looks up leaves the others to ask again.
victim = gevent.spawn(keyring.ask, "b", look_up)
gevent.sleep(0.01)
heir = gevent.spawn(keyring.ask, "b", look_up)
gevent.sleep(0.01)
victim.kill()
heir.join(5)
print(len(queries), heir.value)
"""


def at_once(call):
    """Run call in several threads that start together; return what each returned or raised."""
    outcomes, start = [], threading.Barrier(CALLERS)

    def run():
        start.wait(5)
        try:
            outcomes.append(call())
        except Exception as failure:  # noqa: BLE001 - an outcome like another
            outcomes.append(failure)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes


class ApiKeyRaceTests(TransactionTestCase):
    def _fixture_teardown(self):
        # Instead of a flush of all tables: the append-only ones refuse it.
        LoginLink.objects.all().delete()
        ApiKey.objects.update(replaced_by=None)
        ApiKey.objects.all().delete()
        User.objects.all().delete()

    def setUp(self):
        self.user = User.objects.create_user("shop", is_staff=True)
        self.now = timezone.now()
        self.issued = usecases.issue_key(
            user=self.user, name="till", scopes=["orders:read"], now=self.now
        )
        self.key_id = self.issued.key.pk

    def test_of_many_who_rotate_a_key_one_gets_a_successor(self):
        outcomes = at_once(lambda: usecases.rotate_key(self.key_id, overlap=HOUR, now=self.now))

        refused = [each for each in outcomes if isinstance(each, usecases.ApiKeyNotLive)]
        self.assertEqual(len(refused), CALLERS - 1)
        self.assertEqual({each.state for each in refused}, {"replaced"})
        self.assertEqual(ApiKey.objects.count(), 2)

    def test_of_many_who_click_a_link_one_gets_in(self):
        token = usecases.make_login_link(user=self.user, now=self.now)

        outcomes = at_once(lambda: usecases.use_login_link(token, now=self.now))

        refused = [each for each in outcomes if isinstance(each, usecases.LoginLinkSpent)]
        self.assertEqual(len(refused), CALLERS - 1)

    def test_a_call_does_not_wait_for_the_note_of_another(self):
        presented = rules.PresentedKey(self.issued.text, self.issued.key.prefix)
        digest = rules.digest_of(self.issued.text)
        done = threading.Event()

        def admit():
            usecases.admit(presented, digest=digest, now=self.now)
            connection.close()
            done.set()

        with transaction.atomic():
            ApiKey.objects.select_for_update().get(pk=self.key_id)
            caller = threading.Thread(target=admit)
            caller.start()
            self.assertTrue(done.wait(5))
        caller.join(5)

        self.assertIsNone(ApiKey.objects.get().last_used_at)


class KeyringUnderGeventTests(SimpleTestCase):
    def test_greenlets_share_a_query_and_survive_a_kill(self):
        ran = subprocess.run(
            [sys.executable, "-c", "import django; django.setup()\n" + KEYRING_UNDER_GEVENT],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

        self.assertEqual(ran.stdout.splitlines(), ["1 {'caller'}", "3 caller"], ran.stderr)

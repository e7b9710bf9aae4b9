"""The background work in a real gevent process: it follows, and it never holds up requests."""

import json
import os
import socket
import subprocess
import sys

import pytest

from rollout import announcing
from tests.faults.fleet import connect, own_prefix

PROGRAM = """
import gevent.monkey; gevent.monkey.patch_all()
import json, os, sys, time
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="a key that both processes share",
    INSTALLED_APPS=["rollout"],
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": "x", "HOST": "/nowhere",
    }},
    ROLLOUT_REDIS_URL=os.environ["ROLLOUT_REDIS_URL"],
    ROLLOUT_REDIS_PREFIX=os.environ["ROLLOUT_REDIS_PREFIX"],
    MIDDLEWARE=["rollout.middleware.RolloutMiddleware"],
    USE_TZ=True,
)
django.setup()
import gevent
from rollout import worker
from rollout.codepath import CodePath
from rollout.runtime import runtime

path = CodePath("tests.path", effects="read")
path.version("v1")(lambda: "v1")
path.version("v2")(lambda: "v2")

longest, before = 0.0, time.monotonic()
def watch():
    global longest, before
    while True:
        gevent.sleep(0.001)
        now = time.monotonic()
        longest, before = max(longest, now - before), now

started = time.monotonic()
gevent.spawn(watch)
worker.start()
boot_s = time.monotonic() - started
assert worker.start() is worker.start()
print(json.dumps({"boot_s": boot_s, "serves": path(), "stale": runtime.snapshot.stale}), flush=True)
until = time.monotonic() + float(sys.argv[1])
while time.monotonic() < until and runtime.snapshot.generation < 3:
    gevent.sleep(0.005)
print(json.dumps({
    "generation": runtime.snapshot.generation, "serves": path(), "longest_s": longest,
}), flush=True)
worker.stop()
"""


def rules(share_bp):
    return json.dumps(
        {
            "schema_version": 1,
            "rules": [
                {"id": "a", "path": "tests.path", "serve": "v2", "share_bp": share_bp},
            ],
        }
    )


class GeventTests:
    @pytest.fixture(autouse=True)
    def _around(self, settings):
        settings.SECRET_KEY = "a key that both processes share"
        settings.ROLLOUT_REDIS_PREFIX = self.prefix = own_prefix()
        settings.ROLLOUT_REDIS_URL = os.environ["REDIS_URL"]
        yield
        with connect() as redis:
            for key in redis.scan_iter(match=f"{self.prefix}:*"):
                redis.delete(key)

    def process(self, url, seconds):
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(seconds)],
            env={**os.environ, "ROLLOUT_REDIS_URL": url, "ROLLOUT_REDIS_PREFIX": self.prefix},
            stdout=subprocess.PIPE,
            text=True,
        )

    def test_starts_without_the_database_and_follows_what_is_pushed(self):
        announcing.announce(generation=1, checksum="a" * 64, text=rules(0))
        with self.process(os.environ["REDIS_URL"], 10) as process:
            first = json.loads(process.stdout.readline())
            announcing.announce(generation=2, checksum="b" * 64, text=rules(10_000))
            announcing.announce(generation=3, checksum="c" * 64, text=rules(10_000))
            second = json.loads(process.stdout.readline())

        assert (first["serves"], first["stale"]) == ("v1", True)
        assert (second["generation"], second["serves"]) == (3, "v2")
        assert process.returncode == 0

    def test_holds_up_no_request_while_redis_hangs(self):
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            url = f"redis://127.0.0.1:{deaf.getsockname()[1]}/0"
            with self.process(url, 2) as process:
                first = json.loads(process.stdout.readline())
                second = json.loads(process.stdout.readline())

        assert first["boot_s"] < 2
        assert second["serves"] == "v1"
        assert second["longest_s"] < 0.2
        assert process.returncode == 0

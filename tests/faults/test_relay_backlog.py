"""A relay that was away for long catches up, and what happens meanwhile does not wait for that."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis

from config.embedded import embedded_servers
from tests.commands.processes import PROJECT, wait_until
from tests.server import fresh_database

TRUST = {"WEBHOOKS_ALLOW_HTTP": "true", "WEBHOOKS_PRIVATE_NETWORKS": "127.0.0.0/8"}
# As record_events writes them, in one statement.
ADD_BACKLOG = """
WITH e AS (
    INSERT INTO events_event (id, type, aggregate_type, aggregate_id, aggregate_version, data,
                              traceparent, occurred_at, account_id)
    SELECT gen_random_uuid(), 'order.placed', 'order', %s || n, 1,
           jsonb_build_object('id', n, 'number', n, 'status', 'placed', 'currency', 'EUR',
                              'total_minor', 1250, 'version', 1),
           '', clock_timestamp(), 1
      FROM generate_series(1, %s) AS n
    RETURNING id, position)
INSERT INTO events_outbox (position, event_id) SELECT position, id FROM e
"""
ADD_ENDPOINT = """
import sys
from django.utils import timezone
from events.endpoints import create_endpoint
from events.rules import Audience
create_endpoint(audience=Audience(1), url=sys.stdin.readline().strip(), types=[], description="",
                now=timezone.now())
"""
COUNTER = """
import asyncio, json, sys, time

seen = 0

async def serve(reader, writer):
    global seen
    try:
        while True:
            head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode().lower()
            length = int(head.split("content-length: ")[1].split("\\r\\n")[0])
            body = await reader.readexactly(length)
            if b"order/fresh" in body:
                event = json.loads(body)
                sys.stdout.write(json.dumps([event["subject"], event["time"], time.time()]) + "\\n")
                sys.stdout.flush()
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    except (OSError, asyncio.IncompleteReadError):
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sys.stdout.write(str(server.sockets[0].getsockname()[1]) + "\\n")
    sys.stdout.flush()
    await server.serve_forever()

asyncio.run(main())
"""


@contextmanager
def redis_that_keeps():
    """Run a Redis of its own, which forgets nothing for want of room as a cache does."""
    given = {"DATABASE_URL": os.environ["DATABASE_URL"]}
    with (
        TemporaryDirectory(prefix="sluice-stream-") as home,
        embedded_servers(Path(home), given) as servers,
    ):
        url = servers.environment["REDIS_URL"]
        with redis.Redis.from_url(url) as client:
            client.config_set("maxmemory-policy", "noeviction", "maxmemory", 0)
        yield url


@contextmanager
def relaying(database, **settings):
    """Run one relay until the block ends; it must end well."""
    environment = os.environ | {"DATABASE_URL": database.url} | settings
    relay = subprocess.Popen(
        [sys.executable, "manage.py", "relay"],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert relay.stdout.readline() == "relaying\n"
        yield relay
        relay.terminate()
        assert relay.wait(40) == 0
    finally:
        relay.kill()
        relay.wait()
        relay.stdout.close()


def add_webhook(database, url):
    """Let account 1 be told of everything at a URL of this machine."""
    subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", ADD_ENDPOINT],
        cwd=PROJECT,
        env=os.environ | {"DATABASE_URL": database.url} | TRUST,
        input=url,
        text=True,
        check=True,
    )


def add_backlog(database, name, count):
    with database.connect() as asking:
        asking.execute(ADD_BACKLOG, (name, count))


class BacklogTests:
    """The bounds are half of what an idle machine does with ease: this one may be busy."""

    @pytest.mark.prove
    def test_goes_to_redis_and_to_a_webhook(self):
        self.drain_to_redis(5_000, rate_min=500)
        self.drain_to_webhook(1_500, rate_min=60, fresh_s_max=10)

    @pytest.mark.soak
    def test_of_two_hundred_thousand_goes_to_redis(self):
        self.drain_to_redis(200_000, rate_min=5_000)

    @pytest.mark.soak
    def test_of_two_hundred_thousand_goes_to_a_webhook(self):
        self.drain_to_webhook(200_000, rate_min=500, fresh_s_max=5)

    def drain_to_redis(self, count, *, rate_min):
        stream = "sluice:events"
        with (
            redis_that_keeps() as url,
            redis.Redis.from_url(url) as client,
            fresh_database(os.environ["DATABASE_URL"]) as database,
        ):
            sink = {"EVENTS_STREAM_URL": url, "EVENTS_STREAM_NAME": stream}
            # The sink is known from the first start on: what happens from then on is for it.
            with relaying(database, **sink):
                wait_until(lambda: database.value("SELECT count(*) FROM events_lane"))
            add_backlog(database, "old-", count)
            with relaying(database, **sink):
                begun = time.monotonic()
                wait_until(lambda: client.xlen(stream) >= count, seconds=240)
                rate = count / (time.monotonic() - begun)
            assert client.xlen(stream) == count
            assert not database.value("SELECT count(*) FROM events_delivery")
            first = client.xrange(stream, count=1)[0][1]
            assert json.loads(first[b"event"])["id"].encode() == first[b"id"]
        sys.stdout.write(f"\n{count} events to Redis: {rate:.0f}/s\n")
        assert rate >= rate_min

    def drain_to_webhook(self, count, *, rate_min, fresh_s_max):
        counter = subprocess.Popen(
            [sys.executable, "-c", COUNTER], stdout=subprocess.PIPE, text=True
        )
        ages = []
        reading = threading.Thread(target=self.read_ages, args=(counter, ages))
        try:
            url = f"http://127.0.0.1:{counter.stdout.readline().strip()}/"
            with fresh_database(os.environ["DATABASE_URL"]) as database:
                add_webhook(database, url)
                add_backlog(database, "old-", count)
                reading.start()
                with relaying(database, **TRUST):
                    taken_up_s, rate, fresh = self.watch(database, count)
                    wait_until(lambda: len(ages) >= fresh, seconds=60)
        finally:
            counter.kill()
            counter.wait()
            reading.join()
            counter.stdout.close()
        ages.sort()
        p50, p95 = ages[len(ages) // 2], ages[int(len(ages) * 0.95)]
        sys.stdout.write(
            f"\n{count} events to a webhook: {rate:.0f}/s, taken up in {taken_up_s:.0f} s;"
            f" meanwhile {fresh} fresh ones:"
            f" p50 {p50:.2f} s, p95 {p95:.2f} s, max {ages[-1]:.2f} s\n"
        )
        assert rate >= rate_min
        assert p95 <= fresh_s_max

    def watch(self, database, count):
        """
        Add fresh events until the backlog is delivered.

        Return in how many seconds it was taken up, its rate over all, and how many were fresh.
        """
        begun, fresh, taken_up_s, asked_at = time.monotonic(), 0, None, 0.0
        while True:
            time.sleep(0.2)
            add_backlog(database, f"fresh-{fresh}-", 5)
            fresh += 5
            spent = time.monotonic() - begun
            # Counting so many rows each time would be the heaviest of what is measured here.
            if spent < asked_at:
                continue
            asked_at = spent + 1
            if taken_up_s is None and not self.waiting(database, "outbox o"):
                taken_up_s = spent
            if taken_up_s is not None and not self.waiting(
                database, "delivery o", "AND o.state = 'pending'"
            ):
                return taken_up_s, count / spent, fresh

    def waiting(self, database, table, more=""):
        """Test whether some of the backlog are still there."""
        return database.value(
            f"SELECT EXISTS (SELECT FROM events_{table} JOIN events_event e ON e.id = o.event_id"  # noqa: S608
            f" WHERE e.aggregate_id LIKE 'old-%%' {more})"
        )

    def read_ages(self, counter, ages):
        for line in counter.stdout:
            _, told_at, at = json.loads(line)
            ages.append(at - datetime.fromisoformat(told_at).timestamp())

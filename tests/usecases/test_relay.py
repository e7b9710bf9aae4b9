"""What a relay does, step by step, with real commits and a real receiver."""

import json
import re
import threading
import time
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone
from standardwebhooks.webhooks import Webhook

import events.relay
from events import endpoints
from events.models import Delivery, Endpoint, Event, Lane, Outbox
from events.queue import LOAD_DUE, fan_out, open_session
from events.relay import Relay
from events.retries import DELAYS_S
from events.rules import Audience
from events.signing import seal
from events.sinks import JsonLines
from events.usecases import NewEvent, record_events
from tests.builders import NOON
from tests.commands.processes import wait_until
from tests.committed import CommittedTestCase
from tests.faults.receiver import Receiver

OWNER = Audience(1)
OK = (200, {}, b"")
NO = (500, {}, b"no")


def record(aggregate_id="1", version=1, *, kind="order.noted", account_id=1, occurred_at=NOON):
    """Commit an event; return it as it was stored."""
    about = kind.split(".")[0]
    event = NewEvent(
        kind, about, aggregate_id, version, {"n": version}, occurred_at, account_id=account_id
    )
    with transaction.atomic():
        record_events([event])
    return Event.objects.get(
        aggregate_type=about, aggregate_id=aggregate_id, aggregate_version=version
    )


@override_settings(WEBHOOKS_ALLOW_HTTP=True, WEBHOOKS_PRIVATE_NETWORKS=[ip_network("127.0.0.0/8")])
class RelayTestCase(CommittedTestCase):
    sinks = {}

    def setUp(self):
        # Longer than the machine may stand still: leases end where a test says so.
        self.enterContext(patch.object(events.relay, "LEASE_S", 60))
        self.receiver = self.enterContext(Receiver())
        self.relay = self.given_relay()

    def given_relay(self, **more):
        relay = Relay(self.sinks, **more)
        relay._next |= {"tidy": float("inf"), "measure": float("inf"), "share": float("inf")}
        self.addCleanup(relay._finish)
        return relay

    def given_webhook(self, *, url=None, types=(), audience=OWNER):
        return endpoints.create_endpoint(
            audience=audience,
            url=url or self.receiver.url,
            types=types,
            description="",
            now=timezone.now(),
        )

    def steps(self, is_done, relay=None):
        """Let a relay work until something is so."""

        def step():
            (relay or self.relay).step()
            return is_done()

        wait_until(step, seconds=20)

    def let_time_pass(self, **span):
        """Move everything that is due by a span, as if that much time had gone by."""
        passed = timedelta(**span)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE events_delivery SET due_at = due_at - %s", (passed,))
            cursor.execute(
                "UPDATE events_lane SET paused_until = paused_until - %s,"
                " failing_since = failing_since - %s",
                (passed, passed),
            )
        # The relay's own clock: it asks again who receives what, and looks at everything.
        self.relay._next["lanes"] = float("-inf")
        for way in self.relay._ways.values():
            way.looked_at_all = float("-inf")

    def states(self):
        return list(Delivery.objects.order_by("position").values_list("state", flat=True))

    def sent(self):
        return [
            (call.event["subject"], call.event["aggregateversion"]) for call in self.receiver.calls
        ]

    def settled(self, *states):
        return lambda: self.states() == list(states)


class DeliverTests(RelayTestCase):
    def test_sends_a_signed_envelope_and_keeps_the_answer(self):
        _, secret = self.given_webhook()
        event = record()

        self.steps(self.settled("delivered"))

        (call,) = self.receiver.calls
        assert Webhook(secret).verify(call.body, dict(call.headers)) == call.event
        assert call.headers["webhook-id"] == call.event["id"] == str(event.pk)
        assert call.headers["content-type"] == "application/cloudevents+json"
        assert call.event["subject"] == "order/1"
        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.attempts, delivery.error) == (204, 1, "")
        assert not Outbox.objects.exists()

    def test_tells_each_endpoint_what_it_asked_for_and_may_see(self):
        for types, audience in (
            (["order.noted"], Audience(1)),
            (["order.*"], Audience(2)),
            (["order.paid"], Audience(2, sees_all=True)),
            ([], Audience(2, sees_shared=True)),
            ([], Audience(3, sees_all=True)),
        ):
            self.given_webhook(types=types, audience=audience)
        record()
        record(kind="stock.adjusted", account_id=None)

        self.steps(lambda: len(self.states()) == 3)

        told = Delivery.objects.order_by("lane_id").values_list("lane_id", "position")
        lanes = list(Lane.objects.order_by("id").values_list("id", flat=True))
        noted, adjusted = Event.objects.order_by("position").values_list("position", flat=True)
        assert list(told) == [(lanes[0], noted), (lanes[3], adjusted), (lanes[4], noted)]

    def test_sends_the_events_of_one_order_one_after_the_other(self):
        self.given_webhook()
        for version in range(1, 6):
            for order in ("a", "b", "c"):
                record(order, version)
        self.receiver.answer = lambda call: time.sleep(0.01) or OK

        self.steps(self.settled(*["delivered"] * 15))

        for order in ("a", "b", "c"):
            versions = [version for subject, version in self.sent() if subject == f"order/{order}"]
            assert versions == [1, 2, 3, 4, 5]

    def test_holds_back_what_follows_a_failure_and_nothing_else(self):
        self.given_webhook()
        refusals = iter([NO])
        self.receiver.answer = lambda call: (
            next(refusals, OK) if call.event["subject"] == "order/a" else OK
        )
        for version in (1, 2, 3):
            record("a", version)
        record("b", 1)

        self.steps(self.settled("pending", "pending", "pending", "delivered"))
        self.let_time_pass(minutes=-1)  # However long this takes, nothing is tried again meanwhile.
        record("a", 4)
        self.steps(lambda: not Outbox.objects.exists())
        for _ in range(5):
            self.relay.step()
        sent_meanwhile = self.sent()
        self.let_time_pass(seconds=66)
        self.steps(self.settled(*["delivered"] * 5))

        assert sorted(sent_meanwhile) == [("order/a", 1), ("order/b", 1)]
        assert self.sent()[2:] == [("order/a", n) for n in (1, 2, 3, 4)]
        assert len({call.headers["webhook-id"] for call in self.receiver.calls}) == 5

    def test_gives_up_after_ten_attempts_in_three_days_and_goes_on_with_what_waited(self):
        self.given_webhook()
        self.receiver.answer = lambda call: NO if call.event["aggregateversion"] == 1 else OK
        record("a", 1)
        record("a", 2)

        for attempts, delay in enumerate(DELAYS_S[1:], start=1):
            self.steps(lambda n=attempts: Delivery.objects.filter(attempts=n).exists())
            first = Delivery.objects.order_by("position").first()
            wait = (first.due_at - timezone.now()).total_seconds()
            assert 0.89 * delay - 2 < wait < 1.11 * delay, attempts
            assert self.states() == ["pending", "pending"]
            self.let_time_pass(seconds=1.2 * delay)
        self.steps(self.settled("dead", "delivered"))

        assert self.sent() == [("order/a", 1)] * 10 + [("order/a", 2)]
        assert Delivery.objects.get(state="dead").answer == "no"

    def test_loses_nothing_that_commits_late(self):
        """Two hundred pairs where the lower position commits after the higher."""
        self.given_webhook()
        late = connection.copy()
        # Also where the test fails: what it has locked would hold up the emptying of the tables.
        self.addCleanup(late.close)
        late.set_autocommit(False)
        with late.cursor() as cursor:
            for n in range(200):
                cursor.execute(
                    "WITH e AS (INSERT INTO events_event (id, type, aggregate_type, aggregate_id,"
                    " aggregate_version, data, traceparent, occurred_at, account_id)"
                    " VALUES (gen_random_uuid(), 'order.noted', 'order', %s, 1, '{}', '', now(), 1)"
                    " RETURNING id, position)"
                    " INSERT INTO events_outbox (position, event_id) SELECT position, id FROM e",
                    (f"late-{n}",),
                )
                record(f"early-{n}")
        self.steps(self.settled(*["delivered"] * 200))

        late.commit()
        self.steps(self.settled(*["delivered"] * 400))

        assert {subject for subject, _ in self.sent()} == {
            f"order/{when}-{n}" for when in ("early", "late") for n in range(200)
        }

    def test_takes_up_what_happens_now_before_a_backlog_and_no_event_before_its_first(self):
        self.given_webhook()
        for number in range(8):
            record(f"old-{number}")
        record("new", 1)
        record("new", 2)

        fan_out(limit=3)

        waiting = Delivery.objects.filter(state="pending").values_list("event_id", flat=True)
        taken = Event.objects.filter(id__in=waiting).order_by("position")
        told = [(event.aggregate_id, event.aggregate_version) for event in taken]
        self.assertEqual(told, [("old-0", 1), ("old-1", 1), ("old-2", 1), ("old-7", 1), ("new", 1)])

    def test_has_what_happened_a_moment_ago_at_the_new_end_when_a_backlog_is_taken_up_later(self):
        self.given_webhook()
        fresh = record("fresh", occurred_at=timezone.now())
        fan_out(limit=1)
        record("old")
        fan_out(limit=1)

        newest = Delivery.objects.order_by("-due_at")[0]

        self.assertEqual(newest.event_id, fresh.id)
        self.assertLess(timezone.now() - newest.due_at, timedelta(seconds=20))

    def test_finds_what_comes_before_by_its_aggregate_even_if_it_planned_that_for_no_rows(self):
        open_session(statement_timeout_s=5)
        self.addCleanup(connection.close)
        with connection.cursor() as cursor:
            cursor.execute("SET plan_cache_mode = force_generic_plan")
            cursor.execute(f"PREPARE load_due (jsonb) AS {LOAD_DUE.replace('%s', '$1')}")
            cursor.execute("EXPLAIN EXECUTE load_due ('[]')")
            plan = "\n".join(line for (line,) in cursor.fetchall())

        found = re.findall(r"events_delivery_in_order .*\n +Index Cond: (.*)", plan)
        self.assertEqual(len(found), 1, plan)
        self.assertIn("aggregate = due.aggregate", found[0])


class EndpointTroubleTests(RelayTestCase):
    def test_410_disables_it_and_tells_its_account(self):
        endpoint, _ = self.given_webhook()
        self.receiver.answer = lambda call: (410, {}, b"")
        record()

        self.steps(lambda: not Endpoint.objects.get().is_enabled)

        assert Endpoint.objects.get().disabled_reason == "gone"
        told = Event.objects.get(type="webhook.disabled")
        assert told.account_id == 1
        assert told.data == {"webhook_id": str(endpoint.pk), "reason": "gone"}

    def test_410_of_one_that_is_deleted_meanwhile_stops_no_relay(self):
        endpoint, _ = self.given_webhook()

        def be_deleted(call):
            endpoints.delete_endpoint(endpoint.pk, account_id=1, now=timezone.now())
            connection.close()
            return 410, {}, b""

        self.receiver.answer = be_deleted
        record()

        self.steps(lambda: Delivery.objects.filter(status=410).exists())
        self.relay.step()

        assert Endpoint.objects.get().disabled_reason == "deleted"
        assert not Event.objects.filter(type="webhook.disabled").exists()

    def test_an_event_that_cannot_even_be_signed_fails_and_is_tried_again(self):
        endpoint, _ = self.given_webhook()
        Endpoint.objects.update(sealed_secret=seal("whsec_x"))
        record()

        with self.assertLogs("events.relay", "ERROR"):
            self.steps(lambda: Delivery.objects.filter(attempts=1).exists())
        assert Delivery.objects.get().error == "internal_error"
        endpoints.rotate_secret(
            endpoint.pk, account_id=1, overlap_hours=0, now=timezone.now() - timedelta(seconds=1)
        )
        self.let_time_pass(seconds=6)
        self.steps(self.settled("delivered"))

    def test_five_days_of_failures_disable_it_and_enabling_lets_it_go_on(self):
        endpoint, _ = self.given_webhook()
        self.receiver.answer = lambda call: NO
        record()
        self.steps(lambda: Delivery.objects.filter(attempts=1).exists())
        self.steps(lambda: Lane.objects.filter(failures_in_row=1).exists())

        self.let_time_pass(days=4, hours=23)
        assert endpoints.disable_failing(now=timezone.now()) == 0
        self.let_time_pass(hours=2)
        assert endpoints.disable_failing(now=timezone.now()) == 1
        assert Endpoint.objects.get().disabled_reason == "failing"
        self.receiver.answer = lambda call: OK
        endpoints.update_endpoint(
            endpoint.pk, audience=Audience(1), now=timezone.now(), is_enabled=True
        )
        self.steps(self.settled("delivered", "delivered"))

        assert Lane.objects.get().failures_in_row == 0

    def test_is_left_alone_for_as_long_as_it_asks(self):
        self.given_webhook()
        self.receiver.answer = lambda call: (429, {"Retry-After": "600"}, b"")
        record("a")
        self.steps(lambda: Delivery.objects.filter(attempts=1).exists())
        record("b")
        self.steps(lambda: not Outbox.objects.exists())
        for _ in range(5):
            self.relay.step()

        assert self.sent() == [("order/a", 1)]
        self.steps(lambda: Lane.objects.get().paused_until is not None)
        left = Lane.objects.get().paused_until - timezone.now()
        assert timedelta(seconds=590) < left <= timedelta(seconds=600)
        due = Delivery.objects.order_by("position").first().due_at - timezone.now()
        assert timedelta(seconds=590) < due <= timedelta(seconds=600)

    def test_rests_after_many_failures_and_costs_the_others_nothing(self):
        self.given_webhook(url="http://127.0.0.1:1/")
        healthy, _ = self.given_webhook()
        for n in range(60):
            record(str(n))

        self.steps(
            lambda: Delivery.objects.filter(lane=healthy.lane, state="delivered").count() == 60
        )
        self.steps(lambda: Lane.objects.filter(failures_in_row__gte=20).exists())

        dead = Lane.objects.get(failures_in_row__gte=20)
        attempts = Delivery.objects.filter(lane=dead, attempts__gt=0).count()
        assert 20 <= attempts < 30
        assert set(
            Delivery.objects.filter(lane=dead, attempts__gt=0).values_list("error", flat=True)
        ) == {"connection_failed"}

    def test_is_sent_nothing_when_its_name_leads_inside(self):
        self.given_webhook()
        record()

        with override_settings(WEBHOOKS_PRIVATE_NETWORKS=[]):
            relay = self.given_relay()
            self.steps(lambda: Delivery.objects.filter(attempts=1).exists(), relay)

        assert Delivery.objects.get().error == "address_refused"
        assert self.receiver.connections == 0

    def test_changes_its_address_and_its_secret_while_it_is_served(self):
        endpoint, first = self.given_webhook()
        record("a")
        self.steps(self.settled("delivered"))
        _, second = endpoints.rotate_secret(endpoint.pk, account_id=1, now=timezone.now())
        time.sleep(0.4)
        self.relay.step()
        record("b")
        self.steps(self.settled("delivered", "delivered"))

        call = self.receiver.calls[1]
        for secret in (first, second):
            Webhook(secret).verify(call.body, dict(call.headers))

    def test_is_pinged(self):
        endpoint, _ = self.given_webhook(types=["order.paid"])

        event_id = endpoints.ping_endpoint(endpoint.pk, account_id=1, now=timezone.now())
        self.steps(self.settled("delivered"))

        (call,) = self.receiver.calls
        assert (call.event["type"], call.event["id"]) == ("webhook.test", str(event_id))

    def test_gets_dead_letters_again_under_their_old_ids(self):
        endpoint, _ = self.given_webhook()
        record()
        self.relay = self.given_relay(delays_s=(0,))
        self.receiver.answer = lambda call: NO
        self.steps(self.settled("dead"))
        self.receiver.answer = lambda call: OK

        endpoints.replay_dead(endpoint.pk, account_id=1)
        self.steps(self.settled("delivered"))

        first, second = self.receiver.calls
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body


class LeaseTests(RelayTestCase):
    def test_one_relay_at_a_time_has_a_lane(self):
        self.given_webhook()
        other = self.given_relay()
        self.relay.step()
        other.step()

        assert len(self.relay._ways) == 1
        assert other._ways == {}

    def test_a_lane_goes_to_another_when_its_lease_is_over(self):
        self.given_webhook()
        other = self.given_relay()
        self.relay.step()
        Lane.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        time.sleep(0.35)
        other.step()
        time.sleep(0.35)
        self.relay.step()

        assert len(other._ways) == 1
        assert self.relay._ways == {}

    def test_a_late_failure_of_a_relay_that_lost_its_lane_counts_for_nothing(self):
        self.given_webhook()
        is_lost = threading.Event()
        self.receiver.answer = lambda call: NO if is_lost.wait(20) else OK
        record()
        self.steps(lambda: self.receiver.calls)
        Lane.objects.update(token=99)
        is_lost.set()
        time.sleep(0.5)
        self.relay.step()

        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.attempts) == ("pending", 0)
        assert Lane.objects.get().failures_in_row == 0

    def test_leaves_its_lanes_to_others_when_it_ends(self):
        self.given_webhook()
        self.relay.step()
        self.relay._finish()

        assert Lane.objects.get().holder is None


class SinkTests(RelayTestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.sinks = {"file": JsonLines(path=str(self.folder / "events"))}
        super().setUp()
        self.relay.step()

    def lines(self):
        path = self.folder / "events"
        return (
            [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
        )

    def test_takes_every_event_of_everybody_in_order(self):
        for version in (1, 2, 3):
            record("a", version)
            record("b", version, account_id=2)
        record("c", kind="stock.adjusted", account_id=None)

        self.steps(lambda: len(self.lines()) == 7)
        self.steps(lambda: not Delivery.objects.exists())

        told = [(event["subject"], event["aggregateversion"]) for event in self.lines()]
        assert [version for subject, version in told if subject == "order/a"] == [1, 2, 3]
        assert [version for subject, version in told if subject == "order/b"] == [1, 2, 3]
        assert ("stock/c", 1) in told

    def test_gets_a_batch_again_when_it_raised(self):
        sink = self.sinks["file"]
        self.sinks["file"] = sink
        path, sink._path = sink._path, self.folder / "missing" / "events"
        record("a", 1)
        record("a", 2)
        with self.assertLogs("events.relay", "WARNING"):
            self.steps(lambda: Lane.objects.filter(failures_in_row=1).exists())
        sink._path = path

        self.steps(lambda: not Delivery.objects.exists())

        assert [event["aggregateversion"] for event in self.lines()] == [1, 2]

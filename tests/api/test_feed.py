"""The feed, as a program reads it."""

import threading
from uuid import uuid4

from django.db import connection, transaction

from events.usecases import NewEvent, record_events
from tests.api.caller import Caller
from tests.builders import NOON, given_account, given_api_key, given_stock, place
from tests.commands.processes import wait_until
from tests.committed import CommittedTestCase


def record(*, aggregate_id=None, version=1):
    """Commit an event of an order, and return the order's id."""
    aggregate_id = aggregate_id or str(uuid4())
    with transaction.atomic():
        record_events(
            [NewEvent("order.noted", "order", aggregate_id, version, {}, NOON, account_id=1)]
        )
    return aggregate_id


class Writer(threading.Thread):
    """A transaction that has begun, and writes and commits when it is told to."""

    def __init__(self, aggregate_id, version):
        super().__init__()
        self.event = (aggregate_id, version)
        self.has_begun, self.may_write, self.may_commit = (threading.Event() for _ in range(3))
        self.has_written = threading.Event()
        self.start()
        self.has_begun.wait(10)

    def run(self):
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_current_xact_id()")
            self.has_begun.set()
            self.may_write.wait(10)
            record_events([NewEvent("order.noted", "order", *self.event, {}, NOON, account_id=1)])
            self.has_written.set()
            self.may_commit.wait(10)
        connection.close()

    def finish(self):
        """Let it write and commit."""
        self.may_write.set()
        self.may_commit.set()
        self.join(10)


class FeedTests(CommittedTestCase):
    def setUp(self):
        given_stock("CUP", on_hand=10)
        self.account = given_account()
        self.shop = Caller(given_api_key(self.account))

    def settle(self):
        """Wait until no transaction of this server, ours or not, holds anything back."""
        wait_until(lambda: self.shop.get("/events").json()["held_back"]["events"] == 0, seconds=60)

    def types(self, caller, query=""):
        self.settle()
        return [event["type"] for event in caller.get(f"/events{query}").json()["data"]]

    def test_tells_an_event_as_cloudevents_has_it(self):
        placed = place({"CUP": 2}, account=self.account)
        self.settle()

        page = self.shop.get("/events?types=order.placed").json()

        order_id = placed.location.rsplit("/", 1)[1]
        (event,) = page["data"]
        assert event.pop("id")
        assert event == {
            "specversion": "1.0",
            "source": "urn:sluice",
            "type": "order.placed",
            "subject": f"order/{order_id}",
            "time": "2026-05-04T12:00:00.000000Z",
            "datacontenttype": "application/json",
            "aggregateversion": 1,
            "data": event["data"],
        }
        assert event["data"]["id"] == order_id
        assert event["data"]["total_minor"] == 500

    def test_goes_on_from_a_cursor_and_keeps_it_when_there_is_nothing_new(self):
        for _ in range(3):
            place(account=self.account)
        self.settle()

        first = self.shop.get("/events?limit=3").json()
        second = self.shop.get(f"/events?limit=3&after={first['cursor']}").json()
        third = self.shop.get(f"/events?after={second['cursor']}").json()

        assert [event["type"] for event in first["data"]] == [
            "stock.received",
            "order.placed",
            "order.placed",
        ]
        assert (len(second["data"]), len(third["data"])) == (1, 0)
        assert (first["has_more"], second["has_more"], third["has_more"]) == (True, False, False)
        assert third["cursor"] == second["cursor"]

    def test_shows_each_account_its_own(self):
        place(account=self.account)
        stranger = given_account("stranger")

        assert self.types(Caller(given_api_key(stranger, "events:read"))) == []
        assert self.types(Caller(given_api_key(self.account, "events:read"))) == ["order.placed"]
        assert self.types(Caller(given_api_key(stranger, "events:read", "orders:all"))) == [
            "order.placed"
        ]
        assert self.types(Caller(given_api_key(stranger, "events:read", "stock:read"))) == [
            "stock.received"
        ]

    def test_shows_the_types_that_are_asked_for(self):
        place(account=self.account)

        assert self.types(self.shop, "?types=stock.*") == ["stock.received"]
        assert self.types(self.shop, "?types=stock.*,order.placed") == [
            "stock.received",
            "order.placed",
        ]
        assert self.types(self.shop, "?types=order.cancelled") == []

    def test_refuses_a_cursor_and_types_that_are_none(self):
        for query in ("after=1", "after=1-", "after=1-x", "types=order", "types=", "limit=501"):
            answer = self.shop.get(f"/events?{query}")

            assert answer.status_code == 422, query
            assert answer.json()["code"] == "validation_failed"

    def test_is_closed_without_its_scope(self):
        answer = Caller(given_api_key(self.account, "orders:read")).get("/events")

        assert answer.status_code == 403

    def test_loses_nothing_that_commits_late(self):
        self.settle()  # Else a transaction of another database may hold back more than this one.
        late = Writer(str(uuid4()), 1)
        late.may_write.set()
        late.has_written.wait(10)
        record()
        everything = Caller(given_api_key(self.account, "events:read", "orders:all"))

        before = everything.get("/events").json()
        late.finish()
        self.settle()
        after = everything.get(f"/events?after={before['cursor']}").json()

        assert before["data"] == []
        assert before["held_back"]["events"] == 1
        assert before["held_back"]["age_s"] > 0
        assert after["data"][0]["subject"] == f"order/{late.event[0]}"
        assert len(after["data"]) == 2

    def test_tells_an_aggregate_in_order_also_when_the_later_change_began_first(self):
        aggregate_id = str(uuid4())
        second = Writer(aggregate_id, 2)
        record(aggregate_id=aggregate_id, version=1)
        second.finish()
        self.settle()
        everything = Caller(given_api_key(self.account, "events:read", "orders:all"))

        page = everything.get("/events").json()

        assert [event["aggregateversion"] for event in page["data"]] == [1, 2]

    def test_goes_past_many_events_of_others(self):
        stranger = Caller(given_api_key(given_account("stranger"), "events:read"))
        with transaction.atomic():
            record_events(
                [
                    NewEvent("order.noted", "order", str(n), 1, {}, NOON, account_id=0)
                    for n in range(5001)
                ]
            )
        self.settle()

        first = stranger.get("/events").json()
        second = stranger.get(f"/events?after={first['cursor']}").json()

        assert (first["data"], first["has_more"]) == ([], True)
        assert (second["data"], second["has_more"]) == ([], False)

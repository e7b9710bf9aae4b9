"""Endpoints, as the program that owns them keeps them."""

from datetime import timedelta
from uuid import uuid4

from django.test import TestCase
from django.utils import timezone

from events import endpoints
from events.models import Delivery, Endpoint, Event
from rollout.codepath import override
from tests.api.caller import Caller
from tests.builders import given_account, given_api_key, given_stock, place

URL = "https://shop.example.com/hooks"
SCOPES = ("events:read", "events:write", "stock:read")


class WebhookTestCase(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        self.account = given_account()
        self.shop = Caller(given_api_key(self.account, *SCOPES))

    def given_webhook(self, **body):
        answer = self.shop.post("/webhooks", {"url": URL} | body)
        assert answer.status_code == 201, answer.content
        return answer.json()

    def refused(self, answer, status, code):
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
        return answer.json()


class KeepWebhookTests(WebhookTestCase):
    def test_tells_the_secret_once(self):
        created = self.given_webhook(types=["order.*"], description="till")
        secret = created.pop("secret")

        read = self.shop.get(f"/webhooks/{created['id']}").json()
        listed = self.shop.get("/webhooks").json()

        assert secret.startswith("whsec_")
        assert read == created
        assert listed == {"data": [created], "next_cursor": None}
        assert (read["url"], read["types"], read["is_enabled"]) == (URL, ["order.*"], True)
        assert secret not in Endpoint.objects.get().sealed_secret

    def test_changes_what_is_named_and_nothing_else(self):
        created = self.given_webhook(types=["order.*"])
        path = f"/webhooks/{created['id']}"

        changed = self.shop.patch(path, {"types": ["stock.adjusted"]}).json()

        assert (changed["types"], changed["url"]) == (["stock.adjusted"], URL)

    def test_is_disabled_and_enabled_again(self):
        created = self.given_webhook()
        path = f"/webhooks/{created['id']}"

        disabled = self.shop.patch(path, {"is_enabled": False}).json()
        refusal = self.shop.post(f"{path}/test", {})
        enabled = self.shop.patch(path, {"is_enabled": True}).json()

        assert (disabled["is_enabled"], disabled["disabled_reason"]) == (False, "asked")
        self.refused(refusal, 409, "webhook_disabled")
        assert (enabled["is_enabled"], enabled["disabled_reason"]) == (True, None)

    def test_is_gone_when_it_is_deleted(self):
        path = f"/webhooks/{self.given_webhook()['id']}"

        deleted = self.shop.client.delete(f"/api/v1{path}")

        assert (deleted.status_code, deleted.content) == (204, b"")
        self.refused(self.shop.get(path), 404, "webhook_not_found")
        assert self.shop.get("/webhooks").json()["data"] == []

    def test_has_two_secrets_for_a_while_when_it_is_rotated(self):
        created = self.given_webhook()

        rotated = self.shop.post(f"/webhooks/{created['id']}/rotate-secret", {"overlap_hours": 2})

        endpoint = Endpoint.objects.get()
        assert endpoints.secrets_of([endpoint.sealed_secret, endpoint.sealed_former_secret]) == [
            rotated.json()["secret"],
            created["secret"],
        ]
        left = endpoint.former_secret_until - timezone.now()
        assert timedelta(hours=1, minutes=59) < left <= timedelta(hours=2)

    def test_refuses_an_address_of_the_inside(self):
        for url in ("http://shop.example.com/", "https://127.0.0.1/", "https://db:5432/"):
            refusal = self.refused(
                self.shop.post("/webhooks", {"url": url}), 422, "webhook_address_refused"
            )
            assert refusal["why"]
        created = self.given_webhook()
        path = f"/webhooks/{created['id']}"
        self.refused(
            self.shop.patch(path, {"url": "https://[::1]/"}), 422, "webhook_address_refused"
        )

        assert Endpoint.objects.get().url == URL

    def test_refuses_types_that_the_key_may_not_see(self):
        reader = Caller(given_api_key(self.account, "events:read", "events:write"))

        for shared in ("stock.*", "stock.adjusted", "stocktake.opened"):
            refusal = reader.post("/webhooks", {"url": URL, "types": ["order.*", shared]})

            assert self.refused(refusal, 403, "event_types_forbidden")["scope"] == "stock:read"
        assert not Endpoint.objects.exists()

    def test_is_led_nowhere_else_by_a_key_that_sees_less(self):
        seer = Caller(given_api_key(self.account, *SCOPES, "orders:all"))
        path = f"/webhooks/{seer.post('/webhooks', {'url': URL}).json()['id']}"
        reader = Caller(given_api_key(self.account, "events:read", "events:write"))

        for caller, scope in ((self.shop, "orders:all"), (reader, "stock:read")):
            for change in ({"url": "https://elsewhere.example.com/"}, {"description": "mine"}):
                refusal = caller.patch(path, change)

                assert self.refused(refusal, 403, "event_types_forbidden")["scope"] == scope
        endpoint = Endpoint.objects.get()
        assert (endpoint.url, endpoint.sees_shared, endpoint.sees_all) == (URL, True, True)
        assert reader.patch(path, {"is_enabled": False}).json()["sees_all"]

    def test_refuses_one_too_many(self):
        for _ in range(endpoints.ENDPOINTS_MAX):
            self.given_webhook()

        self.refused(self.shop.post("/webhooks", {"url": URL}), 409, "too_many_webhooks")
        assert Endpoint.objects.count() == endpoints.ENDPOINTS_MAX

    def test_is_nobody_elses(self):
        path = f"/webhooks/{self.given_webhook()['id']}"
        stranger = Caller(given_api_key(given_account("stranger"), *SCOPES, "orders:all"))

        for refusal in (
            stranger.get(path),
            stranger.patch(path, {"is_enabled": False}),
            stranger.client.delete(f"/api/v1{path}"),
            stranger.get(f"{path}/deliveries"),
            stranger.post(f"{path}/rotate-secret", {}),
            stranger.post(f"{path}/test", {}),
            stranger.post(f"{path}/replay", {"dead_letters": True}),
            self.shop.get(f"/webhooks/{uuid4()}"),
        ):
            self.refused(refusal, 404, "webhook_not_found")
        assert stranger.get("/webhooks").json()["data"] == []
        assert Endpoint.objects.get().is_enabled

    def test_is_kept_only_with_its_scope(self):
        path = f"/webhooks/{self.given_webhook()['id']}"
        reader = Caller(given_api_key(self.account, "events:read"))

        for refusal in (
            reader.post("/webhooks", {"url": URL}),
            reader.patch(path, {"is_enabled": False}),
            reader.client.delete(f"/api/v1{path}"),
            reader.post(f"{path}/rotate-secret", {}),
            reader.post(f"{path}/test", {}),
            reader.post(f"{path}/replay", {"dead_letters": True}),
        ):
            self.refused(refusal, 403, "forbidden")
        assert Endpoint.objects.get().is_enabled


class DeliveriesTests(WebhookTestCase):
    def setUp(self):
        super().setUp()
        self.path = f"/webhooks/{self.given_webhook()['id']}"
        self.lane_id = Endpoint.objects.get().lane_id

    def given_delivery(self, event, **more):
        now = timezone.now()
        return Delivery.objects.create(
            lane_id=self.lane_id,
            event_id=event.pk,
            position=event.position,
            aggregate=0,
            due_at=now,
            created_at=now,
            **more,
        )

    def given_events(self, count):
        given_stock("CUP", on_hand=10)
        for _ in range(count):
            place(account=self.account)
        return list(Event.objects.filter(type="order.placed").order_by("position"))

    def test_are_listed_newest_first_with_what_was_answered(self):
        first, second = self.given_events(2)
        answer = {"status": 500, "answer": "<b>no</b>", "attempts": 3}
        self.given_delivery(first, state="dead", **answer)
        self.given_delivery(second)

        page = self.shop.get(f"{self.path}/deliveries?limit=1").json()
        rest = self.shop.get(f"{self.path}/deliveries?cursor={page['next_cursor']}").json()
        dead = self.shop.get(f"{self.path}/deliveries?state=dead").json()

        assert [row["event_id"] for row in page["data"]] == [str(second.pk)]
        (row,) = rest["data"]
        assert rest["next_cursor"] is None
        assert dead["data"] == [row]
        assert (row["event_type"], row["state"]) == ("order.placed", "dead")
        assert (row["status"], row["answer"], row["attempts"]) == (500, "<b>no</b>", 3)
        assert row["subject"] == f"order/{first.aggregate_id}"

    def test_go_again_when_they_are_dead(self):
        dead, delivered = self.given_events(2)
        self.given_delivery(dead, state="dead", attempts=10)
        self.given_delivery(delivered, state="delivered", attempts=1)

        answer = self.shop.post(f"{self.path}/replay", {"dead_letters": True})

        assert answer.status_code == 202
        assert answer.json() == {"deliveries": 1, "has_more": False, "goes_on_at": None}
        assert list(Delivery.objects.order_by("position").values_list("state", "attempts")) == [
            ("pending", 0),
            ("delivered", 1),
        ]

    def test_go_again_in_a_range_of_time_whether_they_were_delivered_or_not(self):
        before = timezone.now() - timedelta(seconds=1)
        delivered, never = self.given_events(2)
        self.given_delivery(delivered, state="delivered", attempts=1)

        answer = self.shop.post(f"{self.path}/replay", {"since": before.isoformat()})

        # The receipt of the stock is an event too, and this key may see it.
        assert answer.json() == {"deliveries": 3, "has_more": False, "goes_on_at": None}
        assert set(Delivery.objects.values_list("state", "attempts")) == {("pending", 0)}
        assert Delivery.objects.filter(event_id=never.pk).exists()
        nothing = self.shop.post(
            f"{self.path}/replay",
            {"since": "2020-01-01T00:00:00Z", "until": before.isoformat()},
        )
        assert nothing.json()["deliveries"] == 0

    def test_are_replayed_by_one_way_at_a_time(self):
        for body in (
            {},
            {"dead_letters": False},
            {"dead_letters": True, "since": "2026-05-04T12:00:00Z"},
            {"until": "2026-05-04T12:00:00Z"},
            {"since": "2026-05-04T12:00:00Z", "until": "2026-05-04T12:00:00Z"},
            {"since": "2026-05-04T12:00:00"},
        ):
            self.refused(self.shop.post(f"{self.path}/replay", body), 422, "validation_failed")

    def test_are_tried_with_a_ping_that_goes_to_one_endpoint_alone(self):
        self.given_webhook(description="another")

        answers = [self.shop.post(f"{self.path}/test", {}) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [202, 202]
        events = Event.objects.filter(type="webhook.test").order_by("aggregate_version")
        assert [str(event.pk) for event in events] == [a.json()["event_id"] for a in answers]
        assert [event.aggregate_version for event in events] == [1, 2]
        assert set(Delivery.objects.values_list("lane_id", "state")) == {(self.lane_id, "pending")}

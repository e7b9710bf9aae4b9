"""Endpoints, deliveries and events in the back office."""

from datetime import timedelta
from uuid import uuid4

from django.contrib.admin.models import LogEntry
from django.test import TestCase
from django.urls import reverse

from events import endpoints
from events.models import Delivery, Endpoint, Event
from events.rules import Audience
from rollout.codepath import override
from tests.admin.forms import first_values
from tests.admin.people import given_person
from tests.builders import NOON, given_account, given_stock, place, placed_order, what_moved

URL = "https://shop.example/hook"


def address(model, page, *args):
    return reverse(f"admin:events_{model}_{page}", args=args)


class WebhookTestCase(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))
        self.shop = given_account()
        given_stock("CUP", on_hand=10)
        self.client.force_login(given_person("operator"))

    def given_endpoint(self):
        audience = Audience(self.shop.pk, sees_shared=True)
        said = {"url": URL, "types": [], "description": ""}
        endpoint, self.secret = endpoints.create_endpoint(audience=audience, now=NOON, **said)
        return endpoint

    def given_delivery(self, endpoint, state):
        order = placed_order(place({"CUP": 1}, account=self.shop))
        event = Event.objects.get(aggregate_id=str(order.pk))
        return Delivery.objects.create(
            lane=endpoint.lane,
            event_id=event.pk,
            position=event.position,
            aggregate=1,
            state=state,
            attempts=3,
            due_at=NOON,
            created_at=NOON,
        )

    def open_form(self, page):
        answer = self.client.get(page)
        self.assertEqual(answer.status_code, 200)
        return first_values(answer.content.decode())

    def do(self, page, **typed):
        return self.client.post(page, self.open_form(page) | typed, follow=True)

    def rows(self):
        return list(Endpoint.objects.values()), list(Delivery.objects.values())


class EndpointTests(WebhookTestCase):
    ADD = address("endpoint", "add-an-endpoint")

    def said(self, **more):
        return {"account": str(self.shop.pk), "url": URL, "types": "order.*, stock.received"} | more

    def test_adds_an_endpoint_and_shows_its_secret_once(self):
        form = self.open_form(self.ADD) | self.said(sees_shared="on")

        answer = self.client.post(self.ADD, form)

        endpoint = Endpoint.objects.get()
        self.assertEqual(
            (endpoint.account_id, endpoint.url, endpoint.types, endpoint.sees_all),
            (self.shop.pk, URL, ["order.*", "stock.received"], False),
        )
        secret = answer.context["secret"]
        self.assertTrue(secret.startswith("whsec_"), secret)
        self.assertEqual([secret], endpoints.secrets_of([endpoint.sealed_secret]))
        page = self.client.get(address("endpoint", "change", endpoint.pk))
        self.assertNotContains(page, secret)

        again = self.client.post(self.ADD, form, follow=True)

        self.assertContains(again, "This was done already.")
        self.assertNotContains(again, secret)
        self.assertEqual(Endpoint.objects.count(), 1)

    def test_refuses_an_address_inside_and_a_type_that_is_none(self):
        for wrong in ({"url": "https://127.0.0.1/hook"}, {"types": "order placed!"}):
            with self.subTest(wrong):
                answer = self.do(self.ADD, **self.said(**wrong))
                self.assertContains(answer, "Nothing was done")
        self.assertFalse(Endpoint.objects.exists())

    def test_disables_and_enables(self):
        endpoint = self.given_endpoint()

        self.do(address("endpoint", "disable", endpoint.pk))
        endpoint.refresh_from_db()
        self.assertEqual((endpoint.is_enabled, endpoint.disabled_reason), (False, "asked"))
        self.assertTrue(Event.objects.filter(type="webhook.disabled").exists())

        self.do(address("endpoint", "enable", endpoint.pk))
        endpoint.refresh_from_db()
        self.assertEqual((endpoint.is_enabled, endpoint.sees_shared), (True, True))

    def test_rotates_once_for_a_double_click(self):
        endpoint = self.given_endpoint()
        page = address("endpoint", "rotate-the-secret", endpoint.pk)
        form = self.open_form(page)

        answer = self.client.post(page, form)
        self.client.post(page, form)

        endpoint.refresh_from_db()
        new, former = endpoint.sealed_secret, endpoint.sealed_former_secret
        self.assertEqual(
            endpoints.secrets_of([new, former]), [answer.context["secret"], self.secret]
        )

    def test_sends_a_test(self):
        endpoint = self.given_endpoint()

        answer = self.do(address("endpoint", "send-a-test", endpoint.pk))

        self.assertContains(answer, "is on its way.")
        event = Event.objects.get(type="webhook.test")
        self.assertEqual(Delivery.objects.get().event_id, event.pk)

    def test_refuses_to_send_to_one_that_is_disabled(self):
        endpoint = self.given_endpoint()
        form = self.open_form(address("endpoint", "send-a-test", endpoint.pk))
        endpoints.disable_endpoint(endpoint.pk, reason="asked", now=NOON)
        before = self.rows()

        answer = self.client.post(
            address("endpoint", "send-a-test", endpoint.pk), form, follow=True
        )

        self.assertContains(answer, "Nothing was done: The webhook is disabled.")
        self.assertEqual(self.rows(), before)

    def test_only_operators_change_anything(self):
        endpoint = self.given_endpoint()
        delivery = self.given_delivery(endpoint, "dead")
        before, moved = self.rows(), what_moved()

        for role in ("viewer", "stock keeper", "order desk"):
            self.client.force_login(given_person(role))
            pages = [self.ADD, address("delivery", "deliver-again", delivery.pk)]
            acts = ("disable", "rotate-the-secret", "send-a-test", "replay")
            pages += [address("endpoint", act, endpoint.pk) for act in acts]
            for page in pages:
                with self.subTest(role=role, page=page):
                    self.assertEqual(self.client.get(page).status_code, 403)
                    answer = self.client.post(page, {"key": str(uuid4())})
                    self.assertEqual(answer.status_code, 403)

        self.assertEqual((self.rows(), what_moved()), (before, moved))
        self.assertFalse(LogEntry.objects.exists())


class DeliveryTests(WebhookTestCase):
    def setUp(self):
        super().setUp()
        self.endpoint = self.given_endpoint()
        self.dead = self.given_delivery(self.endpoint, "dead")
        self.done = self.given_delivery(self.endpoint, "delivered")

    def states(self):
        return [row.state for row in Delivery.objects.order_by("pk")]

    def test_lists_what_was_told_to_whom(self):
        answer = self.client.get(address("delivery", "changelist"))
        for told in ("order.placed", URL, "Dead"):
            self.assertContains(answer, told)

        dead = self.client.get(address("delivery", "changelist") + "?state__exact=dead")
        self.assertEqual(list(dead.context["cl"].result_list), [self.dead])

    def test_delivers_one_again(self):
        answer = self.do(address("delivery", "deliver-again", self.done.pk))

        self.assertContains(answer, "It is due again.")
        self.assertEqual(self.states(), ["dead", "pending"])

    def test_replays_dead_letters(self):
        answer = self.do(address("endpoint", "replay", self.endpoint.pk))

        self.assertContains(answer, "1 deliveries are due again.")
        self.assertEqual(self.states(), ["pending", "delivered"])

    def test_replays_a_range_of_time(self):
        recorded = endpoints.time_of_id(self.dead.event_id)
        since = f"{recorded - timedelta(hours=1):%Y-%m-%d %H:%M:%S}"

        self.do(address("endpoint", "replay", self.endpoint.pk), since=since)

        self.assertEqual(set(self.states()), {"pending"})

    def test_refuses_to_deliver_to_an_endpoint_that_is_disabled(self):
        form = self.open_form(address("delivery", "deliver-again", self.dead.pk))
        endpoints.disable_endpoint(self.endpoint.pk, reason="asked", now=NOON)
        before = self.rows()

        answer = self.client.post(
            address("delivery", "deliver-again", self.dead.pk), form, follow=True
        )

        self.assertContains(answer, "Nothing was done: The webhook is disabled.")
        self.assertEqual(self.rows(), before)


class EventListTests(WebhookTestCase):
    def found(self, query):
        answer = self.client.get(address("event", "changelist") + query)
        return [event.type for event in answer.context["cl"].result_list]

    def test_finds_what_happened_to_one_thing(self):
        order = placed_order(place({"CUP": 1}, account=self.shop))

        self.assertEqual(self.found(f"?q=order/{order.pk}"), ["order.placed"])
        self.assertEqual(self.found("?q=order/none"), [])
        self.assertEqual(self.found("?q=nothing"), [])
        self.assertEqual(self.found("?type=order.placed"), ["order.placed"])

    def test_shows_what_is_told(self):
        place({"CUP": 1}, account=self.shop, reference="<b>shop-1</b>")
        event = Event.objects.get(type="order.placed")

        answer = self.client.get(address("event", "change", event.pk))

        self.assertContains(answer, "order.placed")
        self.assertNotContains(answer, "<b>shop-1</b>")

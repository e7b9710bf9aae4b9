"""Every page of the back office, whoever registered it."""

import re

from django.contrib import admin
from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.usecases import issue_key
from events.endpoints import create_endpoint, ping_endpoint
from events.rules import Audience
from inventory.usecases import open_stocktake, send_transfer, start_import
from rollout.codepath import override
from rollout.document import EMPTY_DOCUMENT
from rollout.usecases import Actor, publish
from tests.admin.people import given_person
from tests.builders import (
    NOON,
    TESTER,
    a_request,
    given_account,
    given_hold,
    given_location,
    given_stock,
    place,
)

ROLES = ("viewer", "stock keeper", "order desk", "operator")
# Django's own, for superusers.
NOT_OURS = {"auth"}


def given_one_of_each():
    shop = given_account()
    issue_key(user=shop, name="till", scopes=["orders:read"], now=NOON)
    given_stock("CUP", on_hand=10)
    place({"CUP": 2}, account=shop, reference="shop-1")
    given_hold({"CUP": 1}, account=shop)
    given_location("north")
    send_transfer(
        request=a_request(),
        sku="CUP",
        quantity=1,
        source="main",
        destination="north",
        provenance=TESTER,
        now=NOON,
    )
    open_stocktake(request=a_request(), location="main", provenance=TESTER, now=NOON)
    audience = Audience(shop.pk, sees_shared=True)
    url = "https://shop.example/hook"
    endpoint, _ = create_endpoint(audience=audience, url=url, types=[], description="", now=NOON)
    ping_endpoint(endpoint.pk, account_id=shop.pk, now=NOON)
    start_import(name="goods.csv", content=b"sku\nCUP\n", provenance=TESTER, now=NOON)
    publish(EMPTY_DOCUMENT, expected_generation=0, actor=Actor("ann"), comment="empty")


def registered():
    return [
        (model._meta, model_admin)
        for model, model_admin in admin.site._registry.items()
        if model._meta.app_label not in NOT_OURS
    ]


def address_of(opts, page, *args):
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_{page}", args=args)


class EveryPageTests(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1"))  # v2 wants a transaction of its own.
        given_one_of_each()

    def pages_of(self, opts, model_admin, user):
        pk = model_admin.model._default_manager.latest("pk").pk
        yield address_of(opts, "changelist")
        yield address_of(opts, "change", pk)
        yield address_of(opts, "history", pk)
        for form in getattr(model_admin, "acts", ()):
            yield address_of(opts, form.slug(), *([pk] if form.is_of_a_row else []))
        request = type("Request", (), {"user": user})()
        if model_admin.has_add_permission(request):
            yield address_of(opts, "add")

    def test_opens_for_an_operator(self):
        operator = given_person("operator")
        self.client.force_login(operator)
        opened = []

        for opts, model_admin in registered():
            for page in self.pages_of(opts, model_admin, operator):
                with self.subTest(page):
                    answer = self.client.get(page)
                    self.assertEqual(answer.status_code, 200)
                    self.assertContains(answer, "All times are UTC.")
                    opened.append(opts.label)

        self.assertLessEqual(
            {
                "accounts.ApiKey",
                "events.Delivery",
                "events.Endpoint",
                "events.Event",
                "inventory.Hold",
                "inventory.Location",
                "inventory.Movement",
                "inventory.Sku",
                "inventory.StockImport",
                "inventory.StockLevel",
                "inventory.Stocktake",
                "inventory.Transfer",
                "orders.Order",
                "rollout.AuditEvent",
                "rollout.RolloutState",
                "rollout.RuleSetRevision",
            },
            set(opened),
        )

    def test_opens_in_every_role_that_sees_stock_and_orders(self):
        for role in ROLES:
            self.client.force_login(given_person(role))
            for opts, _ in registered():
                if opts.app_label in ("events", "inventory", "orders"):
                    with self.subTest(role=role, model=opts.label):
                        answer = self.client.get(address_of(opts, "changelist"))
                        self.assertEqual(answer.status_code, 200)

    def test_has_no_script_and_no_style_that_the_policy_refuses(self):
        operator = given_person("operator")
        self.client.force_login(operator)

        for opts, model_admin in registered():
            for page in self.pages_of(opts, model_admin, operator):
                with self.subTest(page):
                    html = self.client.get(page).content.decode()
                    self.assertIsNone(re.search(r"<style|\sstyle=|\son[a-z]+=", html))
                    for script in re.findall(r"<script[^>]*>", html):
                        self.assertRegex(script, r'\ssrc="/|type="application/json"')

    def test_no_list_counts_or_skips_rows(self):
        self.client.force_login(given_person("operator"))

        for opts, _ in registered():
            if opts.app_label in ("events", "inventory", "orders"):
                page = address_of(opts, "changelist")
                for query in ("", "?q=CUP", "?_facets=True", "?all=", "?p=3", "?o=2.-1"):
                    with self.subTest(page + query):
                        statements = self.statements_of(page + query)
                        self.assertFalse([s for s in statements if "COUNT(" in s.upper()])
                        self.assertFalse([s for s in statements if " OFFSET " in s.upper()])

    def statements_of(self, page):
        with CaptureQueriesContext(connection) as captured:
            self.assertEqual(self.client.get(page, follow=True).status_code, 200)
        return [query["sql"] for query in captured]

    def test_says_whose_it_is(self):
        self.client.force_login(given_person("viewer"))

        self.assertContains(self.client.get("/admin/"), "Sluice")
        self.assertContains(self.client.get("/admin/"), "Back office")

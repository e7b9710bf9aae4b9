"""A working day in the back office, in a real browser, on what `make run` starts."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import picture

pytestmark = pytest.mark.prove


def on_hand(page: Page) -> str:
    """Return what the page of a level says is there."""
    return page.locator("#counters .field-on_hand").inner_text()


class BackOfficeTests:
    def test_a_day_at_the_desk(self, page: Page, facts: dict[str, Any]) -> None:
        self.log_in_by_the_link(page, facts)
        self.receive_with_a_double_click(page)
        self.adjust_and_count(page)
        number = self.place_an_order(page, facts)
        self.ask_why(page)
        self.open_the_order(page, number)
        self.add_a_sku(page)

    def log_in_by_the_link(self, page: Page, facts: dict[str, Any]) -> None:
        page.goto(facts["admin_url"])
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Back office")).to_be_visible()
        expect(page.get_by_text("All times are UTC.")).to_be_visible()

    def receive_with_a_double_click(self, page: Page) -> None:
        page.get_by_role("link", name="Stock levels").first.click()
        page.locator("#searchbar").fill("DEMO-T")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("#result_list tbody tr")).to_have_count(2)
        page.get_by_role("link", name="DEMO-TEAPOT").click()
        assert on_hand(page) == "200"

        page.get_by_role("link", name="Receive", exact=True).click()
        page.get_by_label("Quantity").fill("48")
        page.get_by_label("Why").fill("Delivery note 1138")
        picture(page, "admin-receive")
        page.get_by_role("button", name="Receive").dblclick()
        expect(page.locator(".messagelist")).to_contain_text("+48 to 248 (Delivery note 1138)")
        assert on_hand(page) == "248"

    def adjust_and_count(self, page: Page) -> None:
        page.get_by_role("link", name="Adjust", exact=True).click()
        page.get_by_label("Difference").fill("-3")
        page.get_by_label("Reason").select_option("damage")
        page.get_by_role("button", name="Adjust").click()
        assert on_hand(page) == "245"

        colleague = page.context.new_page()
        for tab in (colleague, page):
            tab.goto(page.url)
            tab.get_by_role("link", name="Count", exact=True).click()
            tab.get_by_label("Counted").fill("244")
        page.get_by_role("button", name="Count", exact=True).click()
        assert on_hand(page) == "244"

        colleague.get_by_role("button", name="Count", exact=True).click()
        expect(colleague.locator(".messagelist")).to_contain_text("Nothing was done")
        assert on_hand(colleague) == "244"
        colleague.close()

    def place_an_order(self, page: Page, facts: dict[str, Any]) -> int:
        ship_to = {"name": "Ann Lee", "lines": ["1 Mill Road"], "city": "York", "country": "GB"}
        charges = [{"code": "POST", "name": "Postage", "amount_minor": 500}]
        lines = [{"sku": "DEMO-TEAPOT", "quantity": 4}, {"sku": "DEMO-CUP", "quantity": 12}]
        order = {"customer": "c-17", "reference": "shop-1001", "lines": lines}
        answer = page.request.post(
            "/api/v1/orders",
            data=json.dumps(order | {"charges": charges, "ship_to": ship_to}),
            headers={
                "Authorization": f"Bearer {facts['api_key']}",
                "Idempotency-Key": "a-day-at-the-desk",
                "Content-Type": "application/json",
            },
        )
        assert answer.status == 201, answer.text()
        number: int = answer.json()["number"]
        return number

    def ask_why(self, page: Page) -> None:
        page.reload()
        rows = page.locator("#ledger tbody tr")
        expect(rows).to_have_count(5)
        for row, told in enumerate(
            ("allocated +4", "on hand -1", "on hand -3", "on hand +48", "on hand +200")
        ):
            expect(rows.nth(row)).to_contain_text(told)
        picture(page, "admin-level")
        page.get_by_role("link", name="All movements of this level").click()
        page.get_by_role("link", name="adjust", exact=True).click()
        expect(page.locator("#result_list tbody tr")).to_have_count(2)

    def open_the_order(self, page: Page, number: int) -> None:
        page.get_by_role("link", name="Orders", exact=True).last.click()
        page.get_by_label("From").fill("2000-01-01")
        page.get_by_role("button", name="Filter").click()
        page.locator("#searchbar").fill("shop-1001")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("link", name=str(number), exact=True).click()
        for told in ("Ann Lee, 1 Mill Road, York, GB", "139.60 EUR", "246.60 EUR", "order.placed"):
            expect(page.locator("#content-main")).to_contain_text(told)
        expect(page.locator("#ledger tbody tr")).to_have_count(2)
        expect(page.locator("input[type=submit]")).to_have_count(0)
        picture(page, "admin-order")

    def add_a_sku(self, page: Page) -> None:
        page.goto("/admin/inventory/sku/add/")
        page.get_by_label("Code").fill("KETTLE")
        page.get_by_label("Name").fill("Copper kettle")
        page.get_by_label("Price in minor units").fill("5900")
        page.get_by_label("Currency").fill("EUR")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.locator("#result_list")).to_contain_text("59.00 EUR")

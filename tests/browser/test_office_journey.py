"""What keeps a shop's goods and orders right, in a real browser: no script, no policy is hurt."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from config.homes import open_place
from tests.browser.chromium import browsing, picture
from tests.commands.processes import free_port
from tests.commands.test_run import Run
from tests.faults.receiver import Receiver

pytestmark = pytest.mark.prove

GOODS = """sku,name,price_minor,currency,receive,reference
DEMO-CUP,,,,24,DN 1139
OFFICE-LAMP,Desk lamp,4900,EUR,10,DN 1139
OFFICE-PEN,Pen,cheap,EUR,100,DN 1139
"""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks, on this machine."""
    with Receiver() as listening:
        yield listening


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The facts of a run of the whole service that may send webhooks to this machine."""
    home = tmp_path_factory.mktemp("office") / "home"
    allowed = {"WEBHOOKS_ALLOW_HTTP": "true", "WEBHOOKS_PRIVATE_NETWORKS": "127.0.0.0/8"}
    run = Run(home, free_port(), **allowed)
    try:
        yield run.facts()
    finally:
        run.stop()
        open_place(home).delete()


@pytest.fixture
def page(facts: dict[str, Any]) -> Iterator[Page]:
    """A page on that service."""
    with browsing(facts["url"]) as opened:
        yield opened


class OfficeJourneyTests:
    def test_a_week_at_the_office(
        self, page: Page, facts: dict[str, Any], receiver: Receiver, tmp_path: Path
    ) -> None:
        page.goto(facts["admin_url"])
        page.get_by_role("button", name="Log in").click()
        self.add_an_endpoint(page, receiver.url)
        self.import_goods_with_a_mistake(page, tmp_path)
        self.count_a_location(page)
        number = self.place_an_order(page, facts)
        self.fulfil_a_part(page, number)
        self.take_some_back(page)
        self.settle_what_wants_attention(page)
        self.replay_a_delivery(page)

    def add_an_endpoint(self, page: Page, url: str) -> None:
        page.goto("/admin/events/endpoint/")
        page.get_by_role("link", name="Add an endpoint").click()
        page.get_by_label("Account:", exact=True).select_option(index=1)
        page.get_by_label("Also what belongs to other accounts").check()
        page.get_by_label("Address").fill(url)
        page.get_by_label("Types").fill("order.*")
        page.get_by_role("button", name="Add an endpoint").click()
        expect(page.locator("#secret")).to_contain_text("whsec_")
        page.get_by_role("link", name="I have copied it").click()
        expect(page.locator("#deliveries")).to_contain_text("None.")

    def import_goods_with_a_mistake(self, page: Page, tmp_path: Path) -> None:
        file = tmp_path / "goods.csv"
        file.write_text(GOODS)
        page.goto("/admin/inventory/stockimport/")
        page.get_by_role("link", name="Upload a file").click()
        page.get_by_label("File").set_input_files(file)
        page.get_by_role("button", name="Upload a file").click()
        expect(page.locator(".messagelist")).to_contain_text("A trial: nothing was done.")
        expect(page.locator("#rejected tbody tr")).to_have_count(1)
        expect(page.locator("#rejected")).to_contain_text("OFFICE-PEN")
        picture(page, "admin-import")

        page.get_by_role("link", name="Import it").click()
        page.get_by_role("button", name="Import it").dblclick()
        expect(page.locator("#outcomes tbody tr")).to_have_count(3)
        with page.expect_download() as download:
            page.get_by_role("link", name="Download rejected rows").click()
        assert "OFFICE-PEN,Pen,cheap" in Path(download.value.path()).read_text()

    def count_a_location(self, page: Page) -> None:
        page.goto("/admin/inventory/stocktake/")
        page.get_by_role("link", name="Begin a stocktake").click()
        page.get_by_label("SKUs that begin with").fill("OFFICE-")
        page.get_by_role("button", name="Begin a stocktake").click()
        page.get_by_role("link", name="Enter counts").click()
        page.get_by_label("Counted of OFFICE-LAMP").fill("9")
        page.get_by_role("button", name="Enter counts").click()
        page.get_by_role("link", name="Approve").click()
        expect(page.locator("#units")).to_contain_text("-1")
        picture(page, "admin-stocktake")
        page.get_by_role("button", name="Approve").click()
        expect(page.locator(".messagelist")).to_contain_text("its differences are booked")

    def place_an_order(self, page: Page, facts: dict[str, Any]) -> int:
        lines = [{"sku": "OFFICE-LAMP", "quantity": 3}, {"sku": "DEMO-CUP", "quantity": 6}]
        answer = page.request.post(
            "/api/v1/orders",
            data=json.dumps({"customer": "c-17", "reference": "office-1", "lines": lines}),
            headers={
                "Authorization": f"Bearer {facts['api_key']}",
                "Idempotency-Key": "a-week-at-the-office",
                "Content-Type": "application/json",
            },
        )
        assert answer.status == 201, answer.text()
        number: int = answer.json()["number"]
        return number

    def fulfil_a_part(self, page: Page, number: int) -> None:
        page.goto("/admin/orders/order/?q=office-1")
        page.get_by_role("link", name=str(number), exact=True).click()
        page.get_by_role("link", name="Fulfil", exact=True).click()
        page.get_by_label("Units of OFFICE-LAMP").fill("2")
        page.get_by_label("Short of OFFICE-LAMP").fill("1")
        page.get_by_label("Units of DEMO-CUP").fill("4")
        page.get_by_label("Parcel").fill("P-1138")
        picture(page, "admin-fulfil")
        page.get_by_role("button", name="Fulfil").dblclick()
        expect(page.locator(".messagelist")).to_contain_text("6 units sent, 1 not found.")
        expect(page.locator("#timeline")).to_contain_text("order.fulfilled")
        expect(page.locator("#timeline tbody tr")).to_have_count(2)

    def take_some_back(self, page: Page) -> None:
        page.get_by_role("link", name="Take back").click()
        page.get_by_label("Units of DEMO-CUP").fill("1")
        page.get_by_label("What becomes of DEMO-CUP").select_option("quarantine")
        page.get_by_label("Why").fill("A crack")
        page.get_by_role("button", name="Take back").click()
        expect(page.locator(".messagelist")).to_contain_text("1 unit taken back (A crack).")

    def settle_what_wants_attention(self, page: Page) -> None:
        page.get_by_role("link", name="Add a note").click()
        page.get_by_label("Text").fill("Called her: the third lamp comes next week.")
        page.get_by_label("Settled").check()
        page.get_by_role("button", name="Add a note").click()
        expect(page.locator("#notes")).to_contain_text("the third lamp")
        picture(page, "admin-order-life")

    def replay_a_delivery(self, page: Page) -> None:
        deadline = time.monotonic() + 30
        while True:
            page.goto("/admin/events/delivery/?state__exact=delivered")
            rows = page.locator("#result_list tbody tr")
            if rows.count() == 4 or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        expect(rows).to_have_count(4)
        picture(page, "admin-deliveries")
        rows.first.get_by_role("link").first.click()
        page.get_by_role("link", name="Deliver again").click()
        page.get_by_role("button", name="Deliver again").click()
        expect(page.locator(".messagelist")).to_contain_text(re.compile("It is due again"))

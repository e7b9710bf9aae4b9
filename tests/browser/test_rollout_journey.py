"""A release by hand in a real browser: draft, preview, publish, acknowledged, back again."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import picture

pytestmark = pytest.mark.prove

PATH = "orders.place"


class RolloutJourneyTests:
    def test_a_release_by_hand(self, page: Page, facts: dict[str, Any]) -> None:
        page.goto(facts["admin_url"])
        page.get_by_role("button", name="Log in").click()
        self.look_around(page)
        self.draft_a_canary(page)
        self.publish_it(page)
        self.lose_a_race(page)
        self.ask_why(page)
        self.roll_back(page)
        self.pull_the_kill_switch(page)
        self.read_the_trail(page)

    def look_around(self, page: Page) -> None:
        page.get_by_role("link", name="Overview").first.click()
        expect(page.locator(".rollout-generation")).to_contain_text("0")
        expect(page.locator(f"[id='path-{PATH}']")).to_contain_text("v2")
        expect(page.locator(f"[id='breaker-{PATH}-v2']")).to_contain_text("closed")

    def draft_a_canary(self, page: Page) -> None:
        page.get_by_role("link", name="Draft", exact=True).first.click()
        path = page.locator(f"[id='draft-{PATH}']")
        path.get_by_label("Stable").select_option("v1")
        path.get_by_label("Canary").select_option("v2")
        path.get_by_text("Add a rule").click()
        rule = path.locator(".rollout-rule").last
        rule.get_by_label("Id").fill("some-customers")
        # The slider and the number are one.
        rule.locator("input[type=range]").fill("500")
        expect(rule.locator("input[type=number]").first).to_have_value("500")
        expect(rule.locator("output")).to_have_text("5.00 %")
        rule.get_by_label("Note").fill("five percent, to begin with")

        page.get_by_role("button", name="Preview").click()
        expect(page.locator("#faults")).to_contain_text("fallback is stable as well")
        path.get_by_label("Fallback").select_option("–")
        page.get_by_role("button", name="Preview").click()

        expect(page.locator("#moves")).to_contain_text(PATH)
        expect(page.locator("#comparison .rollout-added").first).to_be_visible()
        expect(page.get_by_label("The whole rule set")).to_have_value(
            # What the forms said stands in the document.
            re.compile(r'"id": "some-customers"')
        )
        picture(page, "rollout-draft")

    def publish_it(self, page: Page) -> None:
        page.get_by_label("Why").fill("v2 for five percent")
        page.get_by_role("button", name="Publish over generation 0").click()

        expect(page.locator(".messagelist")).to_contain_text("Generation 1 is published")
        expect(page.locator("#live")).to_contain_text("2 of 2 workers on generation 1")
        expect(page.locator("#live")).to_contain_text("all have it")
        page.locator("#live summary").click()
        expect(page.locator("#live tbody tr")).to_have_count(2)
        picture(page, "rollout-published")

        page.get_by_role("link", name="Overview").first.click()
        expect(page.locator(f"[id='path-{PATH}']")).to_contain_text("5.00 %")
        picture(page, "rollout-overview")

    def lose_a_race(self, page: Page) -> None:
        """Two people draft at once; who comes second keeps the draft, and neither's is lost."""
        colleague = page.context.new_page()
        for tab, share in ((colleague, "1000"), (page, "0")):
            tab.goto("/admin/rollout/rolloutstate/draft/")
            rule = tab.locator(f"[id='draft-{PATH}'] .rollout-rule").first
            if tab is colleague:
                rule.locator("input[type=range]").fill(share)
            else:
                rule.get_by_label("Priority").fill("50")
            tab.get_by_role("button", name="Preview").click()
            tab.get_by_label("Why").fill("ten percent" if tab is colleague else "earlier")
        colleague.get_by_role("button", name="Publish over generation 1").click()
        expect(colleague.locator(".messagelist")).to_contain_text("Generation 2")
        colleague.close()

        page.get_by_role("button", name="Publish over generation 1").click()
        expect(page.locator(".errornote").first).to_contain_text("published generation 2")
        picture(page, "rollout-stale")
        page.get_by_role("button", name="Bring my draft on top of it").click()
        expect(page.locator("#comparison")).to_contain_text('"priority": 50')
        expect(page.locator("#comparison")).not_to_contain_text('- "share_bp": 1000')
        page.get_by_role("button", name="Publish over generation 2").click()
        expect(page.locator(".messagelist")).to_contain_text("Generation 3")

    def ask_why(self, page: Page) -> None:
        page.get_by_role("link", name="Explain").first.click()
        page.get_by_label("Path:", exact=True).select_option(PATH)
        page.get_by_label("Account").fill("7")
        page.get_by_label("Customer").fill("c-17")
        page.get_by_role("button", name="Explain").click()
        expect(page.locator("#explained")).to_contain_text("would serve")
        expect(page.locator(".rollout-table").first).to_contain_text("bucket")
        picture(page, "rollout-explain")

    def roll_back(self, page: Page) -> None:
        page.get_by_role("link", name="History").first.click()
        expect(page.locator("#result_list tbody tr")).to_have_count(3)
        page.get_by_role("link", name="1", exact=True).click()
        page.get_by_role("link", name="Roll back to this").click()
        expect(page.locator("#comparison")).to_contain_text('"share_bp": 500')
        picture(page, "rollout-roll-back")
        page.get_by_label("Comment").fill("ten percent was too much")
        page.get_by_role("button", name="Publish generation 1 anew").click()

        expect(page.locator("#live")).to_contain_text("2 of 2 workers on generation 4")

    def pull_the_kill_switch(self, page: Page) -> None:
        page.get_by_role("link", name="Overview").first.click()
        watcher = page.context.new_page()
        watcher.goto("/admin/rollout/rolloutstate/")
        page.get_by_role("link", name="Kill switch").click()
        page.get_by_role("button", name="Send it to stable now").click()
        expect(page.locator("#live")).to_contain_text("2 of 2 workers on generation 5")

        # An open overview hears of it without being touched.
        expect(watcher.locator("#live")).to_contain_text("The kill switch is on")
        watcher.get_by_role("link", name="Lift it").click()
        watcher.get_by_role("button", name="Let rules decide again").click()
        expect(watcher.locator("#live")).to_contain_text("2 of 2 workers on generation 6")
        watcher.close()

    def read_the_trail(self, page: Page) -> None:
        page.get_by_role("link", name="Audit trail").first.click()
        expect(page.locator("#chain")).to_contain_text("The chain is whole: 6 events")
        picture(page, "rollout-trail")
        page.emulate_media(color_scheme="dark")
        page.get_by_role("link", name="Overview").first.click()
        expect(page.locator(".rollout-generation")).to_contain_text("6")
        picture(page, "rollout-overview-dark")

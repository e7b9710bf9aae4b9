"""/api/docs in a real browser: it loads nothing from elsewhere, and its buttons work."""

import pytest
from django.contrib.staticfiles.testing import StaticLiveServerTestCase
from playwright.sync_api import expect

from tests.browser.chromium import browsing
from tests.builders import given_api_key, given_stock, level_of
from tests.committed import CommittedTestCase

PLACE = "#operations-orders-place_order"
BODY = '{"customer": "c-17", "lines": [{"sku": "CUP", "quantity": 3}]}'


@pytest.mark.prove
class DocsPageTests(CommittedTestCase, StaticLiveServerTestCase):
    def test_places_an_order(self):
        given_stock("CUP", on_hand=10)
        api_key = given_api_key()

        with browsing(self.live_server_url) as page:
            page.goto("/api/docs")
            page.click("button.authorize")
            page.fill("input[aria-label='auth-bearer-value']", api_key)
            page.click(".auth-btn-wrapper button.authorize")
            page.click(".auth-btn-wrapper .btn-done")
            page.click(f"{PLACE} .opblock-summary")
            page.click(f"{PLACE} .try-out__btn")
            page.fill(f"{PLACE} tr[data-param-name='Idempotency-Key'] input", "k-1")
            page.fill(f"{PLACE} textarea", BODY)
            page.click(f"{PLACE} .execute")

            status = page.locator(f"{PLACE} .live-responses-table .response .response-col_status")
            expect(status).to_contain_text("201")

        assert level_of("CUP").allocated == 3

"""Debian's chromium, driven by playwright, whose own browsers are never downloaded."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    sync_playwright,
)


class Complaints:
    """What went wrong in any tab: errors of scripts and of the policy, failures, other hosts."""

    def __init__(self, tabs: BrowserContext, host: str) -> None:
        self.host = host
        self.told: list[str] = []
        tabs.on("console", self._hear)
        tabs.on("weberror", lambda failure: self.told.append(f"script: {failure.error}"))
        tabs.on("request", self._see_request)
        tabs.on("response", self._see_response)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.told.append(f"console: {message.text} {message.location['url']}")

    def _see_request(self, request: Request) -> None:
        if urlsplit(request.url).netloc not in (self.host, ""):
            self.told.append(f"another host: {request.url}")

    def _see_response(self, response: Response) -> None:
        if response.status >= 400:
            self.told.append(f"{response.status}: {response.url}")


@contextmanager
def browsing(url: str) -> Iterator[Page]:
    """Open a page on a service; fail at the end if anything in it went wrong."""
    program = shutil.which("chromium")
    if program is None:
        missing = "chromium is not installed: make prove-deps"
        if os.environ.get("ALLOW_MISSING") == "1":
            pytest.skip(missing)
        pytest.fail(missing)
    # As root, in a container, chromium has no sandbox to go into; it opens our own pages alone.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        tabs = browser.new_context(
            base_url=url, viewport={"width": 1360, "height": 800}, color_scheme="light"
        )
        tabs.set_default_timeout(10_000)
        complaints = Complaints(tabs, urlsplit(url).netloc)
        try:
            yield tabs.new_page()
            assert not complaints.told, complaints.told
        finally:
            browser.close()


def picture(page: Page, name: str) -> None:
    """Keep what the page looks like, where PICTURES says: docs/images is made of these."""
    if folder := os.environ.get("PICTURES"):
        path = Path(folder) / f"{name}.png"
        page.screenshot(path=path, full_page=True, animations="disabled")

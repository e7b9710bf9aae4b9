"""A browser on what `make run` starts."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from config.homes import open_place
from tests.browser.chromium import browsing
from tests.commands.processes import free_port
from tests.commands.test_run import Run


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The facts of a run of the whole service that belongs to one module."""
    home = tmp_path_factory.mktemp("browser") / "home"
    run = Run(home, free_port())
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

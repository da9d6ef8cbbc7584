"""Debian's Chromium, driven by Playwright.

`make test-browser` installs both. Without one of them the tests that ask for it are skipped, and fail where CI is set.
"""

import os
import shutil
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
)


def _missing() -> str | None:
    if find_spec("playwright") is None:
        return "playwright is not installed (make test-browser)"
    return None if any(map(shutil.which, NAMES)) else "chromium is not installed (make test-browser)"


@pytest.fixture
async def chromium() -> AsyncIterator[Any]:
    """The browser, with nothing from before."""
    if reason := _missing():
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    from playwright.async_api import async_playwright

    path = next(filter(None, map(shutil.which, NAMES)))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        await browser.close()

"""Debian's Chromium, driven by Playwright, in front of the dashboard of a whole gate."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from browser import chromium

__all__ = ["chromium"]

WITHIN = 60_000.0
"""Milliseconds that a page has for what a test waits for."""


@dataclass
class Watch:
    """What a browser complained of: errors and warnings of its console, failed scripts, answers of 500 and more.

    A status that the page handles is in the console too; `expected` are those that the test has asked for.
    """

    complaints: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)

    def follow(self, page: Any) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("response", self._response)

    def _console(self, message: Any) -> None:
        handled = message.text.startswith("Failed to load resource") and any(
            f"status of {status} " in message.text for status in self.expected
        )
        if message.type in ("error", "warning") and not handled:
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _response(self, response: Any) -> None:
        if response.status >= 500 and response.status not in self.expected:
            self.complaints.append(f"{response.status} {response.url}")


@dataclass
class Visitor:
    """One person at one browser, on a dashboard."""

    page: Any
    base: str
    watch: Watch

    async def visit(self, path: str) -> None:
        """Open a page and wait until it has loaded all that it shows."""
        await self.page.goto(self.base + path)
        await self.loaded()

    async def loaded(self) -> None:
        await self.page.locator("#content[aria-busy=false]").wait_for()

    @property
    def path(self) -> str:
        return urlsplit(self.page.url).path

    async def click(self, name: str, *, role: str = "button", within: Any = None) -> None:
        await (within or self.page).get_by_role(role, name=name, exact=True).click()

    async def follow(self, name: str) -> None:
        """Click a link and wait for its page."""
        await self.click(name, role="link")
        await self.loaded()

    async def fill(self, **values: str) -> None:
        """Fill fields by their labels (`_` for a space), in the open dialog if there is one."""
        place = self.page.locator("dialog[open]")
        place = place if await place.count() else self.page.locator("main")
        for label, value in values.items():
            await place.get_by_label(label.replace("_", " "), exact=True).fill(value)

    async def sign_in(self, email: str, password: str) -> None:
        await self.visit("/auth/login")
        await self.fill(Email=email, Password=password)
        await self.click("Sign in")
        await self.page.wait_for_url(self.base + "/")
        await self.loaded()

    async def tab_to(self, name: str) -> None:
        """Press Tab until the element with this name has the focus."""
        for _ in range(40):
            await self.page.keyboard.press("Tab")
            here = await self.page.evaluate(
                "(e => (e.labels?.[0] ?? e).textContent.trim() || e.ariaLabel)(document.activeElement)"
            )
            if here == name:
                return
        raise AssertionError(f"Tab does not lead to {name!r}")

    async def go(self, name: str) -> None:
        """Tab to a button or link, and press it."""
        await self.tab_to(name)
        await self.page.keyboard.press("Enter")

    async def shown(self, what: str) -> str:
        """A secret of the page, once it is shown."""
        place = self.page.locator(".secret").filter(
            has=self.page.get_by_role("button", name=f"Copy {what}", exact=True)
        )
        await place.get_by_role("button", name=f"Show {what}", exact=True).click()
        text: str = await place.locator("span").first.inner_text()
        return text

    async def fact(self, name: str) -> str:
        """What a page says of a thing: the text beside its name."""
        place = (
            self.page.locator("dt").get_by_text(name, exact=True).locator("xpath=following-sibling::dd[1]")
        )
        text: str = await place.inner_text()
        return text

"""The console as a person has it before them: pages of one browser context, and what is done and seen on them."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect

WITHIN_MS: Final = 10_000
HUNG_UP_EARLY: Final = "WebSocket is closed before the connection is established"
"""What a browser notes where a page ends a connection that is still being made."""
expect.set_options(timeout=WITHIN_MS)


class Panel:
    """A device on a page."""

    def __init__(self, page: Page, name: str) -> None:
        self.root = page.locator(f'section.device[data-name="{name}"]')
        self.name = name
        self.cards = self.root.locator(".card")
        self.switch = self.root.get_by_role("switch", name=f"{name} online")

    def card(self, pair: str) -> Locator:
        """The notifications of that ``Type:Id``."""
        return self.root.locator(f'.card[data-pair="{pair}"]')

    async def dismiss(self, pair: str) -> None:
        """Click its button."""
        await self.card(pair).get_by_role("button", name=re.compile("^Dismiss ")).first.click()

    async def state(self, state: str) -> None:
        """Wait until the device is that."""
        await expect(self.root).to_have_attribute("data-state", state)


class Desk:
    """A browser context. What its pages may not do is noted, and found by `assert_behaved`."""

    def __init__(self, browser: Browser, url: str, user: str) -> None:
        self.url = url
        self.user = user
        self.context: BrowserContext
        self.complaints: list[str] = []
        self.expected = [HUNG_UP_EARLY]
        self._browser = browser
        self._opened: list[BrowserContext] = []

    async def open(self, path: str = "", *, sign_in: bool = True, **options: Any) -> Page:
        """A page of a new context with these options, signed in. Moves cost time, so nothing moves unless asked."""
        self.context = await self._browser.new_context(**{"reduced_motion": "reduce", **options})
        self.context.set_default_timeout(WITHIN_MS)
        self._opened.append(self.context)
        self.context.on("console", self._said)
        self.context.on("weberror", lambda error: self.complaints.append(f"error: {error.error}"))
        self.context.on("request", self._asked)
        page = await self.tab(path)
        if sign_in:
            await self.sign_in(page)
        return page

    async def tab(self, path: str = "") -> Page:
        """One more page of the last context."""
        page = await self.context.new_page()
        await page.goto(self.url + path)
        return page

    async def sign_in(self, page: Page, password: str = "any") -> None:
        """Fill in the form, and send it."""
        await page.get_by_label("User name").fill(self.user)
        await page.get_by_label("Password").fill(password)
        await page.get_by_role("button", name="Sign in").click()

    async def close(self) -> None:
        """Close all its pages."""
        for context in self._opened:
            await context.close()

    def assert_behaved(self) -> None:
        """No page has broken its policy, failed, complained, or asked another host for anything."""
        left = [each for each in self.complaints if not any(word in each for word in self.expected)]
        assert left == [], left

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.complaints.append(f"request to {request.url}")


async def panels(page: Page, *names: str) -> list[Panel]:
    """The devices of these names, live and with their first notifications."""
    found = [Panel(page, name) for name in names]
    for panel in found:
        await panel.state("live")
        await expect(panel.cards.first).to_be_visible()
    return found

"""axe-core finds nothing to complain of on any view, light or dark."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.browser.desk import Desk, panels

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("scheme", ["light", "dark"]),
]


async def assert_accessible(page: Page, axe: str) -> None:
    """No violation of what axe-core knows, best practices included."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(axe)
    found = await page.evaluate("axe.run()")
    told = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]]
    assert told == []
    assert len(found["passes"]) > 10


async def test_signing_in_and_trying_it(desk: Desk, axe: str, scheme: str) -> None:
    page = await desk.open(sign_in=False, color_scheme=scheme)
    await expect(page.get_by_label("User name")).to_be_visible()
    await assert_accessible(page, axe)

    await desk.sign_in(page)
    phone, tablet, other = await panels(page, "phone", "tablet", "desk")
    await tablet.switch.click()
    await phone.dismiss("NewTicketMessage:4711")
    await page.get_by_role("button", name="New message in ticket").click()
    await tablet.switch.click()
    await expect(tablet.root.locator(".outlived")).to_be_visible()
    await other.switch.click()
    await page.get_by_role("button", name="Wire frames").click()
    await assert_accessible(page, axe)


async def test_watching_it(desk: Desk, axe: str, scheme: str) -> None:
    page = await desk.open("#watch", color_scheme=scheme)
    await expect(page.get_by_role("table", name="Each worker")).to_be_visible()
    await page.get_by_text("As a table").first.click()
    await assert_accessible(page, axe)

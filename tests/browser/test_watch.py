"""Watch it: the figures of the installation, as they are, and what is said where there are none."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect

from tests.browser.desk import Desk, panels
from tests.browser.guarded import PASSWORD
from tests.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="session")

OVERVIEW = "**/api/v1/admin/overview"
HANDLED = {"NotificationEvents": [{"Type": "NewTicket", "Id": 12}]}


def figure(page: Page, chart: str, name: str) -> Locator:
    """The number beside `name` in a chart."""
    return page.get_by_role("region", name=chart).locator(".figure").filter(has_text=name).locator(".now")


async def report(page: Page, url: str) -> None:
    """A caller of another program reports what the page's user has handled."""
    [token] = [cookie["value"] for cookie in await page.context.cookies() if cookie["name"] == "XSRF-TOKEN"]
    path = url.replace("console/", "api/v1/Agents/Pocket/NotificationsHandled")
    answer = await page.context.request.post(path, data=HANDLED, headers={"X-XSRF-TOKEN": token})
    assert answer.status == 204


async def test_the_figures_move_with_what_happens(desk: Desk) -> None:
    page = await desk.open()
    await panels(page, "phone", "tablet", "desk")
    await page.get_by_role("link", name="Watch it").click()
    await expect(page.get_by_role("heading", level=1, name="This installation, now")).to_be_focused()
    await expect(page.get_by_text(re.compile("^2 workers ready · clearsync "))).to_be_visible()
    await expect(figure(page, "Sessions", "devices")).to_have_text(re.compile("^[1-9]"))
    await expect(figure(page, "Reports a second", "posts")).to_have_text("0")

    await report(page, desk.url)
    await expect(figure(page, "Reports a second", "posts")).to_have_text(re.compile(r"^0\.[1-9]"))
    await expect(figure(page, "Time to clear", "p99")).to_have_text(re.compile(r"\d m?s$"))
    await expect(figure(page, "Store round trip", "p50")).to_have_text(re.compile(r"\d ms$"))
    words = page.get_by_role("img", name=re.compile("^Time to clear, from 60 s ago until now. p50: now "))
    await expect(words).to_be_visible()


async def test_it_shows_workers_apart_and_charts_as_tables(desk: Desk) -> None:
    page = await desk.open("#watch")
    rows = page.get_by_role("table", name="Each worker").get_by_role("row")
    await expect(rows).to_have_count(3)
    await expect(rows.nth(2)).to_contain_text(re.compile("^1ready"))
    all_devices = figure(page, "Sessions", "devices")
    await expect(all_devices).to_have_text(re.compile(r"^\d"))
    of_one = await rows.nth(1).get_by_role("cell").nth(1).text_content()
    await page.get_by_label("Show").select_option("worker 0")
    await expect(all_devices).to_have_text(of_one or "?")

    sessions = page.get_by_role("region", name="Sessions")
    await sessions.get_by_text("As a table").click()
    await expect(sessions.get_by_role("table", name="Sessions").get_by_role("row")).not_to_have_count(1)


async def test_it_asks_only_while_somebody_looks(desk: Desk) -> None:
    page = await desk.open()
    await page.clock.install()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    link = page.get_by_role("link", name="Watch it")
    async with page.expect_response(OVERVIEW):
        await link.click()
    await expect(page.get_by_role("table", name="Each worker")).to_be_visible()
    async with page.expect_response(OVERVIEW):
        await page.clock.run_for(2100)
    await page.get_by_role("link", name="Try it").click()
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await page.clock.run_for(10_000)
    async with page.expect_response(OVERVIEW):
        await link.click()
    assert sum("overview" in url for url in asked) == 3


async def test_without_the_scope_it_says_so(browser: Browser, known_users: Running) -> None:
    for user, seen in (("ada", "These figures need the scope admin"), ("olga", "Each worker")):
        desk = Desk(browser, f"{known_users.url}/console/", user)
        desk.expected.append("403 (Forbidden)")
        try:
            page = await desk.open("#watch", sign_in=False)
            await desk.sign_in(page, PASSWORD)
            await expect(page.get_by_text(seen)).to_be_visible()
            await expect(page.get_by_role("table", name="Each worker")).to_have_count(int(user == "olga"))
            desk.assert_behaved()
        finally:
            await desk.close()


async def test_a_server_that_does_not_answer_is_asked_again(desk: Desk) -> None:
    desk.expected.append("503 (Service Unavailable)")
    page = await desk.open(sign_in=False)
    refusal = {"Error": True, "ErrorType": "Unavailable", "ErrorMessage": "the supervisor is busy", "ErrorSource": "x"}

    async def unavailable(route: Route) -> None:
        await route.fulfill(status=503, json=refusal)

    await page.route(OVERVIEW, unavailable)
    await desk.sign_in(page)
    await page.get_by_role("link", name="Watch it").click()
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("The server can’t tell now: the supervisor is busy.")
    await page.unroute(OVERVIEW)
    await expect(page.get_by_role("table", name="Each worker")).to_be_visible()
    await expect(alert).to_be_empty()

"""The page: who gets it, what it may do, and that it fits eyes, hands and screens."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Error, Page, Route, expect

from tests.browser.desk import Desk, panels
from tests.browser.guarded import PASSWORD
from tests.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = {"width": 360, "height": 740}
REFUSED = "401 (Unauthorized)"
"""What a browser notes of a sign-in that was refused."""


async def test_who_is_not_known_does_not_come_in(browser: Browser, known_users: Running) -> None:
    desk = Desk(browser, f"{known_users.url}/console/", "ada")
    desk.expected.append(REFUSED)
    try:
        page = await desk.open(sign_in=False)
        await desk.sign_in(page, "wrong")
        await expect(page.get_by_role("alert")).to_have_text("User name or password is wrong.")
        await expect(page.get_by_label("Password")).to_be_focused()
        assert await page.context.cookies() == []

        await desk.sign_in(page, PASSWORD)
        [phone] = await panels(page, "phone")
        await phone.dismiss("NewTicketMessage:4711")
        await expect(phone.root.locator(".foot")).to_have_text("Dismissed here, told to the others")
        assert PASSWORD not in await everything_kept(page)
        desk.assert_behaved()
    finally:
        await desk.close()


async def everything_kept(page: Page) -> str:
    """What the page has stored, and what its scripts can read of cookies."""
    return str(await page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])"))


async def test_signing_out_ends_the_session_in_every_tab(desk: Desk) -> None:
    here = await desk.open()
    there = await desk.tab()
    await panels(there, "phone")
    await here.bring_to_front()
    await here.get_by_role("button", name="Sign out").click()
    await expect(here.get_by_label("User name")).to_be_visible()
    await expect(there.get_by_role("alert")).to_have_text("Your session has ended.")
    await expect(there.get_by_role("navigation")).to_have_count(0)
    await here.reload()
    await expect(here.get_by_label("User name")).to_be_visible()


async def test_a_tab_of_another_user_is_not_carried_on(desk: Desk) -> None:
    here = await desk.open()
    await panels(here, "phone")
    there = await desk.tab()
    await there.get_by_role("button", name="Sign out").click()
    desk.user = f"{desk.user}-2"
    await desk.sign_in(there)
    await panels(there, "phone")
    await expect(here.get_by_role("alert")).to_have_text("Your session has ended.")


async def test_a_browser_that_keeps_no_session_is_told(desk: Desk) -> None:
    page = await desk.open(sign_in=False)

    async def without_cookies(route: Route) -> None:
        await route.fulfill(json={"expires": 10, "xsrf": "0"})

    await page.route("**/api/v1/session", without_cookies)
    await desk.sign_in(page)
    await expect(page.get_by_role("alert")).to_contain_text("keeps no session over plain HTTP")


async def test_a_session_that_ends_on_the_server_ends_on_the_page(desk: Desk) -> None:
    page = await desk.open()
    await panels(page, "phone")
    [token] = [cookie["value"] for cookie in await page.context.cookies() if cookie["name"] == "XSRF-TOKEN"]
    session = desk.url.replace("console/", "api/v1/session")
    ended = await page.context.request.delete(session, headers={"X-XSRF-TOKEN": token})
    assert ended.status == 204
    await expect(page.get_by_role("alert")).to_have_text("Your session has ended.")


@pytest.mark.parametrize("view", ["try", "watch"])
async def test_nothing_sticks_out_of_a_small_screen(desk: Desk, view: str) -> None:
    page = await desk.open(f"#{view}", viewport=PHONE, has_touch=True)
    if view == "try":
        [phone] = await panels(page, "phone")
        await phone.dismiss("NewTicketMessage:4711")
        await page.get_by_role("button", name="Wire frames").click()
    else:
        await expect(page.get_by_role("heading", name="Time to clear")).to_be_visible()
        await page.get_by_text("As a table").first.click()
    widths = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert widths == [PHONE["width"]] * 2
    outside = await page.evaluate(
        """() => [...document.querySelectorAll('main button, main select, main h2')].filter(one => {
            const {left, right} = one.getBoundingClientRect()
            return one.checkVisibility() && !one.closest('.scroll') && (left < 0 || right > innerWidth)
        }).map(one => one.outerHTML)"""
    )
    assert outside == []


async def test_it_is_dark_where_the_reader_wants_that(desk: Desk) -> None:
    async def brightness(scheme: str) -> tuple[int, int]:
        page = await desk.open(color_scheme=scheme)
        [phone] = await panels(page, "phone")
        of = "(one, name) => Math.max(...getComputedStyle(one)[name].match(/\\d+/g).slice(0, 3))"
        ground = await page.locator("body").evaluate(f"one => ({of})(one, 'backgroundColor')")
        return ground, await phone.root.evaluate(f"one => ({of})(one, 'color')")

    light, dark = await brightness("light"), await brightness("dark")
    assert light[0] > 200 > 80 > light[1]
    assert dark[1] > 200 > 80 > dark[0]


async def test_its_policy_is_in_force(desk: Desk) -> None:
    """That it is never broken in use, each test here sees; this one sees that breaking it is noticed."""
    page = await desk.open(sign_in=False)
    await page.evaluate(
        "document.body.insertAdjacentElement('beforeend', new Image()).src = 'https://example.org/x.png'"
    )
    await page.evaluate("document.body.setAttribute('style', 'color: red')")
    with pytest.raises(Error, match="TrustedHTML"):
        await page.evaluate("document.body.innerHTML = '<b>text</b>'")
    await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert sum("Content Security Policy" in complaint for complaint in desk.complaints) >= 2
    desk.complaints.clear()

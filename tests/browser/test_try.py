"""Try it: what is dismissed on one device vanishes from the others, at once or when they return."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.desk import Desk, Panel, panels

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESSAGE = "NewTicketMessage:4711"
INVITATION = "AppointmentInvitation:698"
QUOTE = "QuoteApprovalRequest:52"
NAMES = ("phone", "tablet", "desk")
COUNT_MOVES = """() => {
    const {animate} = Element.prototype
    window.moves = 0
    Element.prototype.animate = function (...how) { window.moves += 1; return animate.apply(this, how) }
}"""
AFTER_THE_TAP = re.compile(r"Gone \d[\d.]* m?s after the tap on phone")


async def gone_by_the_phone(panel: Panel, pair: str) -> None:
    """The other device has heard of the tap, and says how long that took."""
    await expect(panel.card(pair)).to_have_count(0)
    await expect(panel.root.locator(".foot")).to_have_text(AFTER_THE_TAP)


async def new_message(page: Page) -> None:
    await page.get_by_role("button", name="New message in ticket 4711").click()


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
async def test_what_is_dismissed_on_one_device_vanishes_from_the_others(desk: Desk, motion: str) -> None:
    page = await desk.open(reduced_motion=motion)
    await page.evaluate(COUNT_MOVES)
    phone, tablet, other = await panels(page, *NAMES)
    await phone.dismiss(MESSAGE)
    await expect(phone.card(MESSAGE)).to_have_count(0)
    for panel in (tablet, other):
        await gone_by_the_phone(panel, MESSAGE)
        await expect(panel.cards).to_have_count(2)
    await expect(page.get_by_role("status")).to_contain_text("vanished from desk after")
    await expect(page.get_by_role("group", name="Measured")).to_contain_text(re.compile(r"\d ms.*median of 2"))
    assert bool(await page.evaluate("moves")) == (motion == "no-preference")
    await expect(tablet.root.locator(".trace")).to_have_count(1)


async def test_what_is_dismissed_in_one_tab_vanishes_in_the_other(desk: Desk) -> None:
    here = await desk.open()
    there = await desk.tab()
    [phone] = await panels(here, "phone")
    [tablet] = await panels(there, "tablet")
    await here.bring_to_front()  # one that lies behind is drawn once a second
    await phone.dismiss(INVITATION)
    await gone_by_the_phone(tablet, INVITATION)

    await new_message(here)
    await expect(tablet.card(MESSAGE)).to_have_count(2)


async def test_a_device_that_was_offline_catches_up(desk: Desk) -> None:
    phone, tablet, other = await panels(await desk.open(), *NAMES)
    await tablet.switch.click()
    await tablet.state("offline")
    for pair in (MESSAGE, QUOTE):
        await phone.dismiss(pair)
        await gone_by_the_phone(other, pair)
    await expect(tablet.cards).to_have_count(3)

    await tablet.switch.click()
    await expect(tablet.cards).to_have_count(1)
    await expect(tablet.card(INVITATION)).to_be_visible()
    await expect(tablet.root.locator(".foot")).to_contain_text("Caught up with what was handled until")


async def test_what_is_dismissed_offline_is_told_on_return(desk: Desk) -> None:
    phone, tablet = await panels(await desk.open(), "phone", "tablet")
    await phone.switch.click()
    await phone.state("offline")
    await phone.dismiss(QUOTE)
    await expect(phone.root.locator(".foot")).to_have_text("Offline, 1 dismissal to report")
    await expect(tablet.card(QUOTE)).to_be_visible()

    await phone.switch.click()
    await expect(tablet.card(QUOTE)).to_have_count(0)


async def test_a_new_notification_of_a_pair_survives_the_catch_up_of_its_old_clear(desk: Desk) -> None:
    page = await desk.open()
    phone, tablet, other = await panels(page, *NAMES)
    await tablet.switch.click()
    await tablet.state("offline")
    await phone.dismiss(MESSAGE)
    await gone_by_the_phone(other, MESSAGE)
    await new_message(page)
    await expect(tablet.card(MESSAGE)).to_have_count(2)

    await tablet.switch.click()
    await expect(tablet.card(MESSAGE)).to_have_count(1)
    await expect(tablet.card(MESSAGE)).to_contain_text("Newer than what was handled at")
    await phone.dismiss(INVITATION)  # all that was on its way has come when this has
    await gone_by_the_phone(tablet, INVITATION)
    for panel in (phone, tablet, other):
        await expect(panel.card(MESSAGE)).to_have_count(1)

    await phone.dismiss(MESSAGE)
    await gone_by_the_phone(tablet, MESSAGE)


async def test_what_is_dismissed_offline_takes_nothing_newer_away(desk: Desk) -> None:
    page = await desk.open()
    phone, tablet = await panels(page, "phone", "tablet")
    await phone.switch.click()
    await phone.state("offline")
    for pair in (MESSAGE, QUOTE):
        await phone.dismiss(pair)
    await new_message(page)
    await phone.switch.click()
    await expect(tablet.card(QUOTE)).to_have_count(0)
    await expect(tablet.card(MESSAGE)).to_have_count(2)
    await expect(phone.card(MESSAGE)).to_have_count(1)


async def test_a_tab_that_is_duplicated_has_devices_of_its_own(desk: Desk) -> None:
    here = await desk.open()
    [phone] = await panels(here, "phone")
    async with desk.context.expect_page() as opened:
        await here.evaluate("window.open(location.href)")
    there = await opened.value
    [other_phone] = await panels(there, "phone")
    await here.bring_to_front()
    await phone.dismiss(MESSAGE)
    await gone_by_the_phone(other_phone, MESSAGE)


async def test_a_reload_keeps_devices_lists_and_cursors(desk: Desk) -> None:
    here = await desk.open()
    there = await desk.tab()
    [phone] = await panels(here, "phone")
    _, tablet = await panels(there, "phone", "tablet")
    await tablet.switch.click()
    await tablet.state("offline")
    await there.close()  # a page that is gone hears of nothing
    [again] = await panels(here, "desk")
    await phone.dismiss(MESSAGE)
    await gone_by_the_phone(again, MESSAGE)
    await again.switch.click()
    await again.state("offline")
    await phone.dismiss(QUOTE)
    await expect(phone.cards).to_have_count(1)

    await here.reload()
    await panels(here, "phone")
    await again.state("offline")
    await expect(again.cards).to_have_count(2)
    await again.switch.click()
    await expect(again.cards).to_have_count(1)


async def test_devices_come_and_go(desk: Desk) -> None:
    page = await desk.open()
    [phone] = await panels(page, "phone")
    await phone.dismiss(QUOTE)
    await page.get_by_role("button", name="Add a device").click()
    [added] = await panels(page, "phone 2")
    await expect(added.root.get_by_role("heading", name="phone 2")).to_be_focused()
    await expect(added.cards).to_have_count(2)
    await phone.dismiss(INVITATION)
    await gone_by_the_phone(added, INVITATION)

    await added.root.get_by_role("button", name="Remove phone 2").click()
    await expect(added.root).to_have_count(0)
    await expect(page.get_by_role("heading", name="desk")).to_be_focused()


async def test_the_drawer_shows_the_frames_of_the_wire(desk: Desk) -> None:
    page = await desk.open()
    phone, tablet = await panels(page, "phone", "tablet")
    await phone.dismiss(MESSAGE)
    await gone_by_the_phone(tablet, MESSAGE)
    await page.get_by_role("button", name="Wire frames").click()
    frames = page.get_by_role("region", name="Frames, the newest last").get_by_role("listitem")
    await expect(frames.filter(has_text='{"type":"handled"')).to_contain_text("phone")
    cleared = frames.filter(has_text='"events":[{"Type":"NewTicketMessage","Id":4711}]}').filter(has_text='"clear"')
    await expect(cleared).to_have_count(2)
    await page.get_by_label("Frames of").select_option("tablet")
    await expect(cleared.filter(visible=True)).to_have_count(1)


async def test_all_of_it_goes_by_keyboard(desk: Desk) -> None:
    page = await desk.open(sign_in=False, reduced_motion="no-preference")
    await expect(page.get_by_role("button", name="Sign in")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    phone, tablet = await panels(page, "phone", "tablet")

    async def tab_to(name: str) -> None:
        for _ in range(40):
            await page.keyboard.press("Tab")
            focused = page.locator(":focus-visible")
            if (await focused.get_attribute("aria-label") or await focused.text_content() or "").startswith(name):
                return
        pytest.fail(f"Tab does not come to {name}")

    await tab_to("Dismiss New message, ticket 4711, on phone")
    await page.keyboard.press("Enter")
    await gone_by_the_phone(tablet, MESSAGE)
    await expect(phone.card(INVITATION).get_by_role("button")).to_be_focused()
    await page.keyboard.press("Space")
    await gone_by_the_phone(tablet, INVITATION)
    await page.keyboard.press("Enter")
    await expect(phone.root.get_by_role("heading")).to_be_focused()
    await expect(phone.root).to_contain_text("Nothing left to do")

    await tab_to("tablet online")
    await page.keyboard.press("Space")
    await tablet.state("offline")
    await tab_to("Wire frames")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("region", name="Frames, the newest last")).to_be_visible()


async def test_the_focus_is_not_lost_where_its_notification_vanishes(desk: Desk) -> None:
    phone, tablet = await panels(await desk.open(), "phone", "tablet")
    await tablet.card(MESSAGE).get_by_role("button").focus()
    await phone.root.evaluate("""root => root.querySelector('[data-pair="NewTicketMessage:4711"] button').click()""")
    await gone_by_the_phone(tablet, MESSAGE)
    await expect(tablet.card(INVITATION).get_by_role("button")).to_be_focused()

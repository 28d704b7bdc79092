"""The pictures of the console in `docs/images`: of a real server with a little load, made for them.

    python -m tests.browser.screenshots [name …]

The page takes the system's font; here that is Inter where it is installed (Debian: fonts-inter).
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import httpx2
from playwright.async_api import Browser, Page, expect
from websockets.asyncio.client import ClientConnection, connect

from tests.browser import chromium
from tests.browser.desk import Desk, panels
from tests.browser.png import smaller
from tests.running import ROOT, Running, serving

IMAGES: Final = ROOT / "docs" / "images"
LARGEST_BYTES: Final = 150_000
MESSAGE: Final = "NewTicketMessage:4711"
WIDE: Final[dict[str, Any]] = {
    "locale": "en-GB",
    "viewport": {"width": 1200, "height": 760},
    "device_scale_factor": 1.5,
}
NARROW: Final[dict[str, Any]] = {"locale": "en-GB", "viewport": {"width": 360, "height": 760}, "device_scale_factor": 2}
AGENTS: Final = 40
LOAD_S: Final = 90.0
FONTS: Final = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <alias binding="strong"><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
  <alias binding="strong"><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
</fontconfig>
"""


async def tried(desk: Desk) -> Page:
    """A notification has just vanished from two devices. The first times are of a browser that is still warming up."""
    page = await desk.open(**WIDE)
    phone, tablet, other = await panels(page, "phone", "tablet", "desk")
    for _ in range(12):
        await page.get_by_role("button", name="Send to every device").click()
        await phone.cards.first.get_by_role("button").click()
        await expect(other.cards).to_have_count(3)
    await page.reload()
    await panels(page, "phone", "tablet", "desk")
    await phone.dismiss(MESSAGE)
    for panel in (tablet, other):
        await expect(panel.root.locator(".trace strong")).to_be_visible()
    return page


async def caught_up(desk: Desk) -> Page:
    """In the dark, a device has come back: the old notification is gone, the new one of the same ticket stays."""
    page = await desk.open(color_scheme="dark", **WIDE)
    phone, tablet, other = await panels(page, "phone", "tablet", "desk")
    await tablet.switch.click()
    await tablet.state("offline")
    await phone.dismiss(MESSAGE)
    await expect(other.card(MESSAGE)).to_have_count(0)
    await page.get_by_role("button", name="New message in ticket").click()
    await tablet.switch.click()
    await expect(tablet.root.locator(".outlived")).to_be_visible()
    await other.switch.click()
    await page.evaluate("scrollTo(0, 0)")
    return page


async def on_a_phone(desk: Desk) -> Page:
    """The same page in a hand."""
    page = await desk.open(has_touch=True, **NARROW)
    phone, tablet = await panels(page, "phone", "tablet")
    await phone.dismiss(MESSAGE)
    await expect(tablet.root.locator(".trace strong")).to_be_visible()
    await phone.root.evaluate("one => scrollTo(0, one.offsetTop - 12)")
    return page


async def watched(desk: Desk) -> Page:
    """The figures of a while of load."""
    url = desk.url.removesuffix("/console/")
    async with AsyncExitStack() as stack:
        posts = await stack.enter_async_context(httpx2.AsyncClient(base_url=url))
        devices = [await stack.enter_async_context(listening(url, number)) for number in range(AGENTS * 3)]
        page = await desk.open("#watch", **(WIDE | {"viewport": {"width": 1200, "height": 1000}}))
        await expect(page.get_by_role("table", name="Each worker")).to_be_visible()
        await load(posts, devices)
        return page


def listening(url: str, number: int) -> connect:
    """A device, every agent has three."""
    headers = {"Authorization": f"Basic {b64encode(b'agent-%d:any' % (number // 3)).decode()}"}
    at = f"{url.replace('http', 'ws', 1)}/api/v1/sync?device=device-{number % 3}"
    return connect(at, additional_headers=headers, max_queue=None)


async def load(posts: httpx2.AsyncClient, devices: list[ClientConnection]) -> None:
    """Reports that come and go like a tide, every third by a device."""
    ends, sent = time.monotonic() + LOAD_S, 0
    while (left := ends - time.monotonic()) > 0:
        events = [{"Type": "NewTicket", "Id": sent % 1000}]
        if sent % 3:
            auth = (f"agent-{sent % AGENTS}", "any")
            path = "/api/v1/Agents/Pocket/NotificationsHandled"
            await posts.post(path, json={"NotificationEvents": events}, auth=auth)
        else:
            await devices[sent % len(devices)].send(json.dumps({"type": "handled", "events": events}))
        sent += 1
        await asyncio.sleep(1 / (60 + 40 * math.sin(left / 9)))


PICTURES: Final[dict[str, Callable[[Desk], Awaitable[Page]]]] = {
    "console-try": tried,
    "console-dark": caught_up,
    "console-phone": on_a_phone,
    "console-watch": watched,
}


async def picture(browser: Browser, running: Running, name: str) -> None:
    """Take one, and write it."""
    desk = Desk(browser, f"{running.url}/console/", "ada")
    try:
        page = await PICTURES[name](desk)
        await page.evaluate("Promise.allSettled(document.getAnimations().map(one => one.finished))")
        path = IMAGES / f"{name}.png"
        path.write_bytes(smaller(await page.screenshot(caret="hide")))
        desk.assert_behaved()
        size = path.stat().st_size
        print(f"{path.relative_to(ROOT)}: {size // 1000} kB")
        assert size <= LARGEST_BYTES, f"{name} has {size} bytes, limit is {LARGEST_BYTES}"
    finally:
        await desk.close()


async def main(path: str, names: list[str]) -> None:
    """Take those pictures, or all, with the Chromium at `path`."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serving("--dev", folder=Path(folder), workers=2) as running:
        fonts = Path(folder) / "fonts.conf"
        fonts.write_text(FONTS)
        env: dict[str, str | float | bool] = {**os.environ, "FONTCONFIG_FILE": str(fonts), "TZ": "UTC"}
        async with chromium.browser(path, env) as launched:
            for name in names or PICTURES:
                await picture(launched, running, name)


if __name__ == "__main__":
    found = chromium.find()
    if found is None:
        sys.exit("there is no Chromium, `make browser` gets one")
    asyncio.run(main(found, sys.argv[1:]))

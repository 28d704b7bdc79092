"""One browser and one server in development for all tests here, and pages that must not misbehave.

Without Chromium the tests are skipped; in CI they fail. Each test has users of its own, and so an empty history.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser import chromium
from tests.browser.desk import Desk
from tests.browser.guarded import guarded
from tests.running import Running, serving

AXE: Final = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
_NUMBERS: Final = count(1)

Open = Callable[..., Any]


def absent(missing: str) -> None:
    """Fail in CI, skip elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Where Chromium is."""
    path = chromium.find()
    if path is None:
        absent("there is no Chromium, `make browser` gets one")
    assert path is not None
    return path


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core."""
    if not AXE.exists():
        absent("axe-core is not installed, `make browser` does it where there is Node.js")
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server in development, with two workers."""
    with serving("--dev", folder=tmp_path_factory.mktemp("console"), workers=2) as running:
        yield running


@pytest.fixture(scope="session")
def known_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that asks who one is, see `guarded`."""
    with guarded(tmp_path_factory.mktemp("guarded")) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium_path: str) -> AsyncIterator[Browser]:
    """Chromium, headless."""
    async with chromium.browser(chromium_path) as launched:
        yield launched


@pytest.fixture
def user() -> str:
    """A user whom no other test has."""
    return f"user-{next(_NUMBERS)}"


@pytest_asyncio.fixture(loop_scope="session")
async def desk(browser: Browser, dev: Running, user: str) -> AsyncIterator[Desk]:
    """The console of the server in development, in a browser context of its own; see `Desk`."""
    desk = Desk(browser, f"{dev.url}/console/", user)
    try:
        yield desk
        desk.assert_behaved()
    finally:
        await desk.close()

"""Finds a Chromium: the one that `CHROMIUM` names, one on PATH, or Playwright's own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, async_playwright
from playwright.sync_api import sync_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS: Final = ("--no-sandbox",)
"""Its sandbox does not run as root, and pages come from our own server only."""


def find() -> str | None:
    """The path of a Chromium, None where there is none."""
    named = os.environ.get("CHROMIUM")
    if named:
        return shutil.which(named)
    return next(filter(None, map(shutil.which, NAMES)), None) or _playwrights_own()


def _playwrights_own() -> str | None:
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


@asynccontextmanager
async def browser(path: str, env: dict[str, str | float | bool] | None = None) -> AsyncIterator[Browser]:
    """That Chromium, headless, until the context ends."""
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS), env=env)
        try:
            yield launched
        finally:
            await launched.close()


if __name__ == "__main__":  # for `make browser`
    sys.exit(find() is None)

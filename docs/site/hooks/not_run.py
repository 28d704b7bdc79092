"""`<!-- not run: why -->` above a block of commands says that no test runs it; a reader of the site is told so too."""

from __future__ import annotations

import html
import re
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

MARK: Final = re.compile(r"(?m)^<!-- not run: (.+?) -->\n")


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes the mark a line above the block."""
    return MARK.sub(lambda match: f'<p class="not-run">Not run by a test: {html.escape(match[1])}.</p>\n\n', markdown)

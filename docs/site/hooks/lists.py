"""What stands within an item of a list is indented by its mark where the repository is read, and by four here."""

from __future__ import annotations

import re
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

_MARK: Final = re.compile(r"(?:[-*]|[0-9]+\.) +")
_FENCE: Final = re.compile(r"(`{3,}|~{3,})")


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Indents anew what stands within lists."""
    return "\n".join(_indented(markdown.split("\n")))


def _indented(lines: list[str]) -> list[str]:
    done: list[str] = []
    columns: list[int] = []  # where the text of each item around begins
    fence = ""
    for line in lines:
        if not line.strip():
            done.append("")
            continue
        indent = len(line) - len(line.lstrip(" "))
        while columns and indent < columns[-1] and not fence:
            columns.pop()
        column = columns[-1] if columns else 0
        text = line[min(column, indent) :]
        done.append("    " * len(columns) + text)
        mark = _FENCE.match(text.lstrip(" "))
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        elif not fence and (item := _MARK.match(text)):
            columns.append(column + item.end())
    return done

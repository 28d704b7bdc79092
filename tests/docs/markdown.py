"""What a reader of the repository follows: the links of a page, and the anchors of its headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_FENCE: Final = re.compile(r"^ *(`{3,}|~{3,})")
_CODE: Final = re.compile(r"`[^`]*`")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#{1,6} +(.*?) *#*$")


def prose(markdown: str) -> Iterator[str]:
    """The lines outside of blocks of code."""
    fence = ""
    for line in markdown.split("\n"):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        elif not fence:
            yield line


def links(markdown: str) -> list[str]:
    """All targets, pictures too."""
    return [link for line in prose(markdown) for link in _LINK.findall(_CODE.sub("``", line))]


def anchors(markdown: str) -> set[str]:
    """The anchors of the headings, by the rule that repositories use."""
    found: set[str] = set()
    for line in prose(markdown):
        if heading := _HEADING.match(line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.add(anchor if anchor not in found else f"{anchor}-1")
    return found

"""Blocks of code in README, the pages and with the clients: which are commands, files, or what commands print.

1. ```` ```sh ````, and a block without a language whose first line begins with a command, is run.
2. `<!-- not run: why -->` right above it says that it is not.
3. A block with `title="name"` is a file of that name, there before the first command.
4. ```` ```text ```` after commands is what is seen of them; so is a block without a language right behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tests.running import ROOT

DOCS: Final = ROOT / "docs"
PAGES: Final = (
    ROOT / "README.md",
    *sorted(DOCS.glob("*.md")),
    *sorted(page for page in (ROOT / "clients").rglob("*.md") if "node_modules" not in page.parts),
)
SHELL: Final = ("sh", "bash", "shell", "console", "shell-session")
_NAMES: Final = """
apt apt-get cat cd chmod chown clearsync cp curl docker echo export git helm install journalctl kill kubectl ls make
mkdir mv nginx node npm npx openssl pip podman printf promtool ps python python3 redis-cli redis-server rm sed sudo
systemctl tar touch unset useradd valkey-cli valkey-server wget
"""
COMMANDS: Final = frozenset(_NAMES.split())

Kind = Literal["commands", "not run", "file", "seen", "other"]

_OPEN: Final = re.compile(r"^( *)(`{3,}|~{3,}) *([\w+-]*) *(.*)$")
_MARK: Final = re.compile(r"^ *<!-- not run: (\S.*\S) -->$")
_TITLE: Final = re.compile(r'title="([\w.-]+)"')
_COMMAND: Final = re.compile(r"^(?:\$ )?(?:[A-Z][A-Z0-9_]*=\S* )*(?:\S*/)?([a-z][\w.-]*)(?: |$)")


@dataclass(frozen=True)
class Block:
    """One fenced block: the line in its page at which it begins, and what follows from the rules above."""

    page: Path
    line: int
    language: str
    title: str
    text: str
    kind: Kind

    @property
    def where(self) -> str:
        """The place, for a message."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def is_command(line: str) -> bool:
    """Whether a line begins with a command of a shell; a comment does not."""
    found = _COMMAND.match(line)
    return bool(found and found[1] in COMMANDS)


def blocks(page: Path) -> list[Block]:
    """All blocks of a page in order. Raises AssertionError for one that does not end."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    number, end = 0, -2
    while number < len(lines):
        opened = _OPEN.match(lines[number])
        if not opened:
            number += 1
            continue
        begin = number
        indent, fence = len(opened[1]), opened[2]
        number += 1
        text = []
        while number < len(lines) and lines[number].strip() != fence:
            text.append(lines[number][indent:])
            number += 1
        assert number < len(lines), f"{page.name}:{begin + 1}: the block does not end"
        marked = bool(begin and _MARK.match(lines[begin - 1]))
        behind = bool(found) and found[-1].kind == "commands" and not "".join(lines[end + 1 : begin]).strip()
        title = _TITLE.search(opened[4])
        kind = _kind(opened[3], text, titled=bool(title), marked=marked, behind=behind, after=_after(found))
        found.append(Block(page, begin + 1, opened[3], title[1] if title else "", "\n".join(text) + "\n", kind))
        end, number = number, number + 1
    return found


def marks(page: Path) -> int:
    """How many blocks of a page are marked as not run."""
    return sum(bool(_MARK.match(line)) for line in page.read_text(encoding="utf-8").splitlines())


def all_blocks() -> Iterator[Block]:
    """Those of all pages."""
    for page in PAGES:
        yield from blocks(page)


def _after(found: list[Block]) -> bool:
    return any(block.kind == "commands" for block in found)


def _kind(language: str, text: list[str], *, titled: bool, marked: bool, behind: bool, after: bool) -> Kind:
    first = next((line for line in text if line.strip() and not line.startswith("#")), "")
    if language in SHELL or (not language and is_command(first)):
        return "not run" if marked else "commands"
    if titled:
        return "file"
    return "seen" if (behind and not language) or (after and language == "text") else "other"

"""The table and the tests are about the same rows."""

from __future__ import annotations

import re
from pathlib import Path

from tests.running import ROOT

TABLE = ROOT / "clients" / "conformance.md"


def rows() -> list[str]:
    """The numbers in the table, in its order."""
    return re.findall(r"(?m)^\| (C\d\d) \|", TABLE.read_text(encoding="utf-8"))


def test_the_rows_are_numbered_without_a_gap() -> None:
    assert rows() == [f"C{number:02}" for number in range(1, len(rows()) + 1)]


def test_each_row_has_a_test_and_each_test_a_row() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    tested = {f"C{number}" for source in sources for number in re.findall(r"(?m)^def test_c(\d\d)_", source)}
    assert tested == set(rows())


def test_the_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", TABLE.read_text(encoding="utf-8")):
        assert (TABLE.parent / target).exists(), target


def test_the_sections_it_names_are_there() -> None:
    headings = re.findall(r"(?m)^#+ (.+)$", (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8"))
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    named = set(re.findall(r"protocol\.md#([a-z-]+)", TABLE.read_text(encoding="utf-8")))
    assert named
    assert named <= anchors

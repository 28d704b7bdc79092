"""The site: it is built without a complaint, asks no other host for anything, and all that is linked is there."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest

from server.settings import KEYS
from tests.docs.blocks import DOCS, PAGES, marks
from tests.docs.markdown import anchors, links
from tests.running import ROOT

CONFIG: Final = "docs/site/mkdocs.yml"
LOADS: Final = {"src", "srcset", "poster", "data", "action", "formaction", "background"}
"""Attributes by which a page fetches something; `href` does so of a <link>."""
CLOSING: Final = ("mermaid", "md-source")
"""Classes on which the theme's own scripts load from elsewhere: diagrams, the figures of a repository."""


class Page(HTMLParser):
    """What a page fetches, where it leads, what it can be entered by, and the classes that it uses."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.fetched: list[str] = []
        self.led: list[str] = []
        self.ids: set[str] = set()
        self.classes: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name in LOADS or (name == "href" and tag in ("link", "base", "use", "image")):
                self.fetched.append(value)
            elif name == "href":
                self.led.append(value)
            elif name in ("id", "name"):
                self.ids.add(value)
            elif name == "class":
                self.classes += value.split()
            elif name == "style":
                self.fetched += re.findall(r"url\(([^)]*)\)", value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, once for all tests."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", CONFIG, "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "WARNING" not in said
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Every page of the site."""
    return {path: Page(path) for path in site.rglob("*.html")}


def elsewhere(address: str) -> bool:
    """Whether it is at another host, or at an address that only one machine has."""
    parts = urlsplit(address.strip("'\" "))
    return bool(parts.netloc or parts.scheme not in ("", "data"))


def test_nothing_is_fetched_from_another_host(site: Path, pages: dict[Path, Page]) -> None:
    fetched = [(page.path, address) for page in pages.values() for address in page.fetched]
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        fetched += [(path, found) for found in re.findall(r"url\(([^)]*)\)|@import[^;]*", text) if found]
    for path in site.rglob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<(image|script|foreignObject)|@import|url\((?!#)", text), path.name
    assert len(fetched) > len(pages)
    assert [(path.name, address) for path, address in fetched if elsewhere(address)] == []
    assert not [page.path.name for page in pages.values() if set(CLOSING) & set(page.classes)]


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    followed = 0
    for page in pages.values():
        for link in [*page.led, *page.fetched]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            start = site if parts.path.startswith("/") else page.path.parent
            target = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else page.path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{page.path.name}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, f"{page.path.name}: {link}"
            followed += 1
    assert followed > 500


def repository_links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for link in links(page.read_text(encoding="utf-8")):
            yield page, link


def test_links_lead_somewhere_where_the_repository_is_read() -> None:
    """README's too, which is no page of the site."""
    for page, link in repository_links():
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        assert target.exists(), f"{page.name}: {link}"
        if parts.fragment and target.suffix == ".md":
            assert parts.fragment in anchors(target.read_text(encoding="utf-8")), f"{page.name}: {link}"


def test_each_setting_is_in_the_reference(site: Path) -> None:
    rows = (site / "configuration.html").read_text(encoding="utf-8").split("<dt ")
    for key in KEYS.values():
        [row] = [row for row in rows if f"<code>{key.name}</code>" in row]
        assert f"<code>{key.environment}</code>" in row
        assert words(key.doc) in words(re.sub(r"<[^>]*>", "", html.unescape(row))), key.name


def words(text: str) -> str:
    """Text without what is set differently in HTML."""
    return re.sub(r"\W+", "", text).lower()


def test_what_is_not_run_is_said_to_the_reader(site: Path, pages: dict[Path, Page]) -> None:
    for page in PAGES:
        folder, name = (DOCS, page) if page.parent == DOCS else (ROOT, ROOT / "files" / page.relative_to(ROOT))
        built = pages.get(site / name.relative_to(folder).with_suffix(".html"))
        if built:
            assert built.classes.count("not-run") == marks(page), page.name
    assert any(map(marks, PAGES))


def test_make_docs_builds_the_same() -> None:
    said = subprocess.run(["make", "--dry-run", "docs"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"mkdocs build --strict --config-file {CONFIG}" in said


def test_pictures_are_for_light_and_dark_and_for_who_does_not_see_them() -> None:
    pictures = sorted((DOCS / "images").glob("*.svg"))
    assert pictures
    for picture in pictures:
        text = picture.read_text(encoding="utf-8")
        assert "prefers-color-scheme: dark" in text, picture.name
        assert "<title" in text, picture.name

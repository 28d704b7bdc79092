"""Files of the repository that the pages link to and that are not under `docs/` become pages of the site.

A link like `../config/nginx.conf` works where the repository is read, and nothing is written twice: here it leads to a
page that shows the file, under `files/`. A folder is a list of its files. Markdown stays what it is, with its pictures;
what it links to comes too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS: Final = Path(__file__).resolve().parents[2]
ROOT: Final = DOCS.parent
FOLDER: Final = "files"
PICTURES: Final = {".svg", ".png"}
UNSEARCHED: Final = "---\nsearch: {exclude: true}\n---\n"
"""Before a page that a search does not look into: code would drown what is written to be read."""
LANGUAGES: Final = {
    ".conf": "nginx",
    ".html": "html",
    ".js": "js",
    ".json": "json",
    ".mjs": "js",
    ".py": "python",
    ".service": "ini",
    ".sh": "sh",
    ".toml": "toml",
    ".ts": "ts",
    ".yaml": "yaml",
    ".yml": "yaml",
}
"""How a file is coloured, by the end of its name."""

_FENCE: Final = re.compile(r"^ *(`{3,}|~{3,})")
_LINK: Final = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds what the pages, the navigation and then the added pages themselves link to."""
    waiting = [ROOT / name.removeprefix(f"{FOLDER}/") for name in _named(config.nav) if name.startswith(f"{FOLDER}/")]
    for file in files.documentation_pages():
        waiting += _outside(DOCS / file.src_uri, file.content_string)
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.exists():
            continue  # what is not there is found by the check of links
        seen.add(path)
        if path.suffix in PICTURES:
            files.append(File.generated(config, _uri_of(path), abs_src_path=str(path)))
            continue
        text = _listed(path) if path.is_dir() else path.read_text(encoding="utf-8")
        waiting += _outside(path / "index.md", text) if path.is_dir() else []
        waiting += _outside(path, text) if path.suffix == ".md" else []
        shown = text if path.is_dir() or path.suffix == ".md" else _shown(path, text)
        files.append(File.generated(config, _uri_of(path), content=shown))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points the links of a page to where the files are in the site."""
    there = _path_of(page.file.src_uri)
    here = Path(page.file.src_uri).parent.as_posix()

    def moved(link: str) -> str:
        target = _target(there, link)
        uri = _uri_of(target)
        return os.path.relpath(uri, here) if files.get_file_from_path(uri) else link

    return _with_links(markdown, moved)


def _named(nav: object) -> list[str]:
    if isinstance(nav, list):
        return [name for part in nav for name in _named(part)]
    if isinstance(nav, dict):
        return [name for part in nav.values() for name in _named(part)]
    return [nav] if isinstance(nav, str) else []


def _outside(page: Path, markdown: str) -> list[Path]:
    """The files outside of `docs/` to which a page links."""
    found: list[Path] = []

    def noted(link: str) -> str:
        target = _target(page, link)
        if target.is_relative_to(ROOT) and not target.is_relative_to(DOCS):
            found.append(target)
        return link

    _with_links(markdown, noted)
    return found


def _target(page: Path, link: str) -> Path:
    target = Path(os.path.normpath(page.parent / unquote(link)))
    return target / "README.md" if (target / "README.md").is_file() else target


def _uri_of(path: Path) -> str:
    """Where a file of the repository is among the sources of the site."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = f"{FOLDER}/{os.path.relpath(path, ROOT)}"
    if path.is_dir():
        return f"{name}/index.md"
    return name if path.suffix in PICTURES | {".md"} else f"{name}.md"


def _path_of(uri: str) -> Path:
    return ROOT / uri.removeprefix(f"{FOLDER}/") if uri.startswith(f"{FOLDER}/") else DOCS / uri


def _listed(folder: Path) -> str:
    """The page of a folder: the files in it that can be shown."""
    names = sorted(
        path.name for path in folder.iterdir() if path.is_file() and path.suffix in LANGUAGES.keys() | {".md"}
    )
    return f"{UNSEARCHED}# {folder.relative_to(ROOT).as_posix()}\n\n" + "".join(
        f"- [{name}]({name})\n" for name in names
    )


def _shown(path: Path, text: str) -> str:
    language = LANGUAGES.get(path.suffix, "text")
    fence = "`" * 8
    return f"{UNSEARCHED}# {path.relative_to(ROOT).as_posix()}\n\n{fence} {language}\n{text.rstrip()}\n{fence}\n"


def _with_links(markdown: str, change: Callable[[str], str]) -> str:
    """The same with the target of each link changed, but for what stands in blocks of code."""
    lines, fence = [], ""
    for line in markdown.split("\n"):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        elif not fence:
            line = _LINK.sub(lambda match: match[1] + change(match[2]) + match[3], line)
        lines.append(line)
    return "\n".join(lines)

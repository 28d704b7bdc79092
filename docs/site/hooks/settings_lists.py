"""The lists of `configuration.md` are made of the settings themselves (`server/settings/schema.py`)."""

from __future__ import annotations

import html
import json
import re
from itertools import groupby
from typing import Final, Literal, get_args, get_origin

import msgspec
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from server.settings import Key, Settings, describe
from server.settings.schema import FLAGS

MARK: Final = "<!-- the settings -->"


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Puts the lists in place of the mark."""
    return markdown.replace(MARK, lists()) if MARK in markdown else markdown


def lists() -> str:
    """A heading and a list for each section, in the order of `config/clearsync.toml`."""
    about = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    parts = []
    for section, keys in groupby(describe(), key=lambda key: key.section):
        parts += [f"### {section}", "", str(about[section].__doc__), ""]
        parts += ['<dl class="settings">', *(_entry(key) for key in keys), "</dl>", ""]
    return "\n".join(parts)


def _entry(key: Key) -> str:
    """A setting in HTML, with an anchor of its own."""
    doc = re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(key.doc[0].upper() + key.doc[1:], quote=False))
    how = [f"Default {_code(json.dumps(key.default, ensure_ascii=False))}", _allowed(key), _code(key.environment)]
    how += [_code(FLAGS[key.name])] if key.name in FLAGS else []
    said = " · ".join(filter(None, how))
    return f'<dt id="{key.name}">{_code(key.name)}</dt>\n<dd>{doc}.</dd>\n<dd class="how">{said}</dd>'


def _code(text: str) -> str:
    return f"<code>{html.escape(text, quote=False)}</code>"


def _allowed(key: Key) -> str:
    """The bounds or the choices, in words, empty for a text: what a rule says of it stands in the refusal."""
    kind, *notes = get_args(key.type)
    while hasattr(kind, "__metadata__"):
        notes, kind = [*kind.__metadata__, *notes], kind.__origin__
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(_code(choice) for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return "a list"
    if kind in (bool, str):
        return ""
    bounds = next(note for note in notes if isinstance(note, msgspec.Meta))
    return f"{bounds.ge:,} to {bounds.le:,}"

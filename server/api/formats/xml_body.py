"""`application/xml` and `text/xml`: the vendor's data contract.

1. Names match in any casing, in any namespace or none; prefixes are not resolved. (A parser that resolves them gives
   each element its namespace's whole name: 100 KB of that, ten thousand times, is what 256 KiB can say.)
2. Elements come in any order; unknown ones are ignored, but not among the events, where one would be lost.
3. `xsi:nil="true"` is null. Blanks around a value are not part of it.
4. A document type is refused, and with it entities and all that is elsewhere. Depth and elements are bounded.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from typing import Final
from xml.sax import SAXParseException  # nosec B406 # no parser of these is used, the parser is defusedxml's
from xml.sax.handler import ContentHandler  # nosec B406
from xml.sax.xmlreader import AttributesImpl  # nosec B406

from defusedxml.common import DefusedXmlException
from defusedxml.expatreader import DefusedExpatParser

from server.api.formats.charsets import UTF_8, codec_named, is_ascii_based, text_of
from server.api.formats.meaning import (
    EVENT,
    EVENT_PROPERTIES,
    EVENTS,
    SINGLE_PROPERTIES,
    Shape,
    add_property,
    check_not_empty,
)
from server.errors import BadRequest, InvalidEvents, TooLarge
from server.events import MAX_EVENTS

MAX_ELEMENTS: Final = 10 * MAX_EVENTS
"""An event has three; the rest is room for what is ignored."""
MAX_DEPTH: Final = 16

_BLANKS: Final = " \t\r\n"
_MARKS: Final = (
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF32_LE, "utf_32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf_32"),
    (codecs.BOM_UTF16_LE, "utf_16"),
    (codecs.BOM_UTF16_BE, "utf_16"),
    (b"<\0", "utf_16_le"),
    (b"\0<", "utf_16_be"),
)
_DECLARATION: Final = re.compile(rb"""<\?xml\s[^>]{0,200}?\sencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")


class _Element:
    """One element, its children and its own text."""

    __slots__ = ("children", "name", "nil", "texts")

    def __init__(self, name: str, nil: bool) -> None:
        self.name = name
        self.nil = nil
        self.children: list[_Element] = []
        self.texts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.texts).strip(_BLANKS)


class _Tree(ContentHandler):
    """What the parser tells, as a tree within bounds: at most 10,000 elements of about 300 bytes, and their text."""

    def __init__(self) -> None:
        super().__init__()
        self._above = _Element("", False)
        self._open = [self._above]
        self._count = 0

    @property
    def root(self) -> _Element:
        return self._above.children[0]

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise TooLarge(f"body has more than {MAX_ELEMENTS} elements, which is the limit")
        if len(self._open) > MAX_DEPTH:
            raise BadRequest("body is nested too deeply")
        element = _Element(name.rpartition(":")[2], _is_nil(attrs))
        self._open[-1].children.append(element)
        self._open.append(element)

    def endElement(self, name: str) -> None:
        self._open.pop()

    def characters(self, content: str) -> None:
        self._open[-1].texts.append(content)


def read(body: bytes, codec: str | None, shape: Shape) -> object:
    """The request as the object that JSON would make of it. Without a charset in the Content-Type the byte order mark
    or the XML declaration says it (XML 1.0, appendix F), with one the declaration does not count (RFC 7303, 3).
    `BadRequest` for what is no XML or has another root element."""
    text = text_of(body, codec or _codec_within(body))
    check_not_empty(text, shape)
    root = _parsed(text)
    if not _is(root, shape.value):
        raise BadRequest(f"root element is {root.name[:60]!r}, it must be {shape.value}")
    if root.nil:
        return None
    return _record(root, SINGLE_PROPERTIES) if shape is Shape.SINGLE else _batch(root)


def _codec_within(body: bytes) -> str:
    for mark, codec in _MARKS:
        if body.startswith(mark):
            return codec
    declaration = _DECLARATION.match(body)
    if declaration is None:
        return UTF_8
    codec = codec_named(declaration[1].decode())
    if not is_ascii_based(codec):  # or the declaration could not have been read
        raise BadRequest(f"XML declaration says encoding {declaration[1].decode()}, which the body is not in")
    return codec


def _parsed(text: str) -> _Element:
    parser, tree = DefusedExpatParser(forbid_dtd=True), _Tree()
    parser.setContentHandler(tree)
    try:
        parser.feed(text)  # as text: then no declaration is asked for the encoding
        parser.close()
    except DefusedXmlException:
        raise BadRequest("body has a document type, which is not allowed") from None
    except SAXParseException as problem:
        at = f"line {problem.getLineNumber()}, column {problem.getColumnNumber()}"
        raise BadRequest(f"body is not XML: {problem.getMessage()} at {at}") from None
    return tree.root


def _is(element: _Element, name: str) -> bool:
    return element.name.isascii() and element.name.lower() == name.lower()


def _is_nil(attrs: AttributesImpl) -> bool:
    pairs: Iterable[tuple[str, str]] = attrs.items()
    return any(name.endswith(":nil") and value.strip(_BLANKS) in ("true", "1") for name, value in pairs)


def _batch(root: _Element) -> dict[str, object]:
    request: dict[str, object] = {}
    for child in root.children:
        if _is(child, EVENTS):
            add_property(request, child.name, _events(child))
    return request


def _events(element: _Element) -> object:
    """A list, or what the meaning of a batch refuses."""
    if element.nil:
        return None
    if not element.children and element.text:
        return element.text
    for child in element.children:
        if not _is(child, EVENT):
            raise InvalidEvents(f"{EVENTS} has an element {child.name[:60]!r}, it must have {EVENT} only")
    return [
        None if child.nil else _record(child, EVENT_PROPERTIES, f"{EVENTS}[{index}]: ")
        for index, child in enumerate(element.children)
    ]


def _record(element: _Element, wanted: frozenset[str], where: str = "") -> dict[str, object]:
    record: dict[str, object] = {}
    for child in element.children:
        if child.name.lower() in wanted:
            add_property(record, child.name, _value(child), where)
    return record


def _value(element: _Element) -> object:
    if element.nil:
        return None
    return {} if element.children else element.text

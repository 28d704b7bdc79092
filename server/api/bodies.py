"""Request bodies to batches: the content types that are served, one table for both requests.

The format (`server.api.formats`) makes a plain object of the bytes, the shape gives it its meaning. So absent, empty,
null, casings and digits mean the same in every format, as far as the format can say them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from server.api.formats import form_body, json_body, json_patch, xml_body
from server.api.formats.charsets import UTF_8, codec_named
from server.api.formats.json_body import json_batch
from server.api.formats.meaning import MEANING, Shape
from server.errors import UnsupportedMedia
from server.events import Batch

__all__ = ["Decoder", "Shape", "decoder_for"]

Decoder = Callable[[bytes], Batch]
Reader = Callable[[bytes, str | None, Shape], object]
"""The body, Python's name of the codec for the charset that the Content-Type gave, and what is asked for."""

_READERS: Final[dict[str, Reader]] = {
    "application/json": json_body.read,
    "text/json": json_body.read,
    "application/xml": xml_body.read,
    "text/xml": xml_body.read,
    "application/x-www-form-urlencoded": form_body.read,
    "application/json-patch+json": json_patch.read,
    "application/merge-patch+json": json_body.read,
}
_KNOWN: dict[bytes, Decoder] = {}  # header values as they came; bounded, since callers choose them
_KNOWN_SINGLE: dict[bytes, Decoder] = {}
_MOST_KNOWN: Final = 64
_SINGLE: Final = Shape.SINGLE  # as a global it is found in a tenth of the time


def decoder_for(content_type: bytes, shape: Shape = Shape.BATCH) -> Decoder:
    """The decoder for a ``Content-Type`` header; `UnsupportedMedia` for a type or charset that is not served.

    The decoder raises `BadRequest` for a body that is not in the format, `InvalidEvents` for events that break a rule,
    `TooLarge` for more than 1,000 of them or more work than they could need.
    """
    cache = _KNOWN_SINGLE if shape is _SINGLE else _KNOWN
    known = cache.get(content_type)
    if known is None:
        known = _find(content_type.decode("latin-1"), shape)
        if len(cache) < _MOST_KNOWN:
            cache[content_type] = known
    return known


def _find(content_type: str, shape: Shape) -> Decoder:
    media, *parameters = [part.strip() for part in content_type.split(";")]
    read = _READERS.get(media.lower())
    if read is None:
        said = f"Content-Type is {media!r}" if media else "Content-Type is missing"
        raise UnsupportedMedia(f"{said[:100]}, it must be one of {', '.join(_READERS)}")
    codec = _codec(parameters)
    if read is json_body.read and shape is Shape.BATCH and codec in (None, UTF_8):
        return json_batch
    return partial(_decode, read, codec, shape)


def _codec(parameters: list[str]) -> str | None:
    codecs = set()
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            codecs.add(codec_named(value.strip().strip('"')))
    if len(codecs) > 1:
        raise UnsupportedMedia(f"charset is given as {' and '.join(sorted(codecs))}, it must be one")
    return codecs.pop() if codecs else None


def _decode(read: Reader, codec: str | None, shape: Shape, body: bytes) -> Batch:
    return MEANING[shape](read(body, codec, shape))

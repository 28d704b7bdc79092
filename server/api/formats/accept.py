"""The ``Accept`` header: in which format a caller is told what went wrong, and whether it asks for another answer than
the usual one (RFC 9110, 12.5.1).

1. Of a range's parameters only `q` counts; a caller that asks for `charset=utf-8` gets it anyway.
2. The most specific range that fits a content type says its `q`; ``*/*`` stands for the two ``application/`` ones.
3. The highest `q` wins, of equal ones the first of the table, which is JSON. An error has to be told somehow, so a
   header that takes neither format is answered in JSON too, and so is one that is malformed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from server.problems import JSON, XML

_OFFERED: Final = {
    "application/json": JSON,
    "text/json": "text/json; charset=utf-8",
    "application/xml": XML,
    "text/xml": "text/xml; charset=utf-8",
}
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_RANGE: Final = re.compile(rf"\*/\*|{_TOKEN}/\*|{_TOKEN}/{_TOKEN}")
_QUALITY: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def error_media(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The Content-Type in which to answer an error, for the headers of a request (names in lower case)."""
    accept = _accept(headers)
    if accept in (b"", b"*/*"):
        return JSON
    try:
        qualities = _qualities(accept.decode("latin-1").lower())
    except ValueError:
        return JSON
    return _OFFERED[max(_OFFERED, key=lambda media: _quality(qualities, media))]  # the first of equals, also of zeros


def takes(headers: Iterable[tuple[bytes, bytes]], media: str, *, rather_than: str) -> bool:
    """Whether a caller names `media`, and likes it no less than `rather_than`. A range that it only falls under, such
    as ``*/*``, and a header that is malformed do not ask for it."""
    accept = _accept(headers)
    if media.encode() not in accept.lower():
        return False
    try:
        qualities = _qualities(accept.decode("latin-1").lower())
    except ValueError:
        return False
    return qualities.get(media, 0.0) > 0.0 and qualities[media] >= qualities.get(rather_than, 0.0)


def _accept(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b",".join(value for name, value in headers if name == b"accept")


def _qualities(accept: str) -> dict[str, float]:
    """By media range; `ValueError` for a header that is malformed."""
    qualities: dict[str, float] = {}
    for element in accept.split(","):
        media, *parameters = [part.strip() for part in element.split(";")]
        if not media and not parameters:
            continue  # a list may have empty elements (RFC 9110, 5.6.1)
        if not _RANGE.fullmatch(media):
            raise ValueError(media)
        qualities[media] = max(_q(parameters), qualities.get(media, 0.0))
    return qualities


def _q(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            if not _QUALITY.fullmatch(value):
                raise ValueError(value)
            return float(value)
    return 1.0


def _quality(qualities: dict[str, float], media: str) -> float:
    main = media.partition("/")[0]
    anything = qualities.get("*/*", 0.0) if main == "application" else 0.0
    return qualities.get(media, qualities.get(f"{main}/*", anything))

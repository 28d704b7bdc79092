"""Charsets by name, and bytes to text.

Callers choose the name, so it is looked up in a set that is made once: Python's own look-up would import a module for
each new name and remember it for ever, and its codecs include some that are no charsets (`rot13`, `zlib`, `idna`) or
hide markup from whoever reads the bytes (`utf-7`).
"""

from __future__ import annotations

import codecs
import encodings
import re
from encodings.aliases import aliases
from typing import Final

from server.errors import BadRequest, UnsupportedMedia

UTF_8: Final = "utf_8"
BOM: Final = codecs.BOM_UTF8

_BYTES_TO_BYTES: Final = {"base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"}
_PYTHONS_OWN: Final = {"idna", "mbcs", "oem", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,39}")
_CODECS: Final = {*aliases.values(), "koi8_u", "utf_8_sig"} - _BYTES_TO_BYTES - _PYTHONS_OWN - {"utf_7"}


def codec_named(charset: str) -> str:
    """Python's name of the codec for a charset; `UnsupportedMedia` where it is none, or none that is served."""
    name = encodings.normalize_encoding(charset).lower()
    codec = aliases.get(name, name)
    if codec not in _CODECS or not _NAME.fullmatch(charset):
        raise UnsupportedMedia(f"charset is {charset[:40]!r}, it must be utf-8 or another that Python has a codec for")
    return codec


def text_of(body: bytes, codec: str) -> str:
    """The text, with its byte order mark if it has one; `BadRequest` where the bytes are none in this codec."""
    try:
        return body.decode(codec)
    except UnicodeError:
        raise BadRequest(f"body is not {codecs.lookup(codec).name.upper()}") from None


def is_ascii_based(codec: str) -> bool:
    """Whether the ASCII characters are the ASCII bytes, as in all charsets but UTF-16, UTF-32 and EBCDIC."""
    signs = "&=%+[].09AZaz"
    return signs.encode(codec) == signs.encode()

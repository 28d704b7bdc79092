"""Smaller PNG files of screenshots: 256 colours are enough for flat paper and letters, and take a third of the bytes.

Reads what Chromium writes (8 bits a channel, RGB or RGBA, not interlaced; PNG, third edition, 9 to 11) and no more.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

COLOURS: Final = 256
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_CHANNELS: Final = {2: 3, 6: 4}

Colour = tuple[int, ...]


def smaller(png: bytes) -> bytes:
    """The same picture with a palette, the most frequent colours as they are, the others as the nearest of these."""
    width, height, rows, channels = _decoded(png)
    pixels = [list(zip(*(row[n::channels] for n in range(3)), strict=True)) for row in rows]
    counted = Counter(colour for row in pixels for colour in row)
    palette = [colour for colour, _ in counted.most_common(COLOURS)]
    places = {colour: number for number, colour in enumerate(palette)}
    places |= {colour: _nearest(colour, palette) for colour in counted if colour not in places}
    lines = b"".join(b"\0" + bytes(places[colour] for colour in row) for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colours = bytes(value for colour in palette for value in colour)
    chunks = (b"IHDR", head), (b"PLTE", colours), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")
    return _SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def _nearest(colour: Colour, palette: list[Colour]) -> int:
    def distance(number: int) -> int:
        return sum((one - other) ** 2 for one, other in zip(colour, palette[number], strict=True))

    return min(range(len(palette)), key=distance)


def _decoded(png: bytes) -> tuple[int, int, list[bytes], int]:
    """Width, height, the rows of samples, and how many samples a pixel has."""
    chunks = list(_chunks(png))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, interlaced) == (8, 0), "not what Chromium writes"
    channels = _CHANNELS[kind]
    raw = zlib.decompress(b"".join(data for name, data in chunks if name == b"IDAT"))
    size, rows = width * channels, []
    above = bytes(size)
    for start in range(0, len(raw), size + 1):
        above = _unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + size]), above, channels)
        rows.append(above)
    return width, height, rows, channels


def _unfiltered(kind: int, line: bytearray, above: bytes, back: int) -> bytes:
    for at in range(len(line) if kind else 0):
        left = line[at - back] if at >= back else 0
        corner = above[at - back] if at >= back else 0
        guess = (0, left, above[at], (left + above[at]) // 2, _paeth(left, above[at], corner))[kind]
        line[at] = (line[at] + guess) & 255
    return bytes(line)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda one: abs(guess - one))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    while at < len(png):
        size, name = struct.unpack_from(">I4s", png, at)
        yield name, png[at + 8 : at + 8 + size]
        at += size + 12


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

"""Compressed bodies: what is inflated, what is refused, and that a bomb is not set off."""

from __future__ import annotations

import contextlib
import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.encodings import MAX_MEMBERS, inflate
from server.errors import BadRequest, ClearsyncError, TooLarge, UnsupportedMedia

LIMIT: Final = 262_144
BODY: Final = b'{"NotificationEvents":[{"Type":"NewTicket","Id":12}]}'

Deflate = Callable[[bytes], bytes]


def raw(body: bytes) -> bytes:
    """deflate without zlib's frame, as some clients send it."""
    return zlib.compress(body, wbits=-15)


CODINGS: Final[list[tuple[str, Deflate]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("GZip", gzip.compress),
    (" gzip ", gzip.compress),
    ("deflate", zlib.compress),
    ("Deflate", raw),
    ("identity", bytes),
    ("", bytes),
]


def refusal(body: bytes, coding: str, kind: type[ClearsyncError] = BadRequest, limit: int = LIMIT) -> str:
    """The message of a body that is refused."""
    with pytest.raises(kind) as caught:
        inflate(body, coding.encode("latin-1"), limit)
    message = str(caught.value)
    assert len(message) <= 200
    assert message.isprintable()
    return message


@pytest.mark.parametrize(("coding", "deflate"), CODINGS)
def test_what_is_served(coding: str, deflate: Deflate) -> None:
    assert inflate(deflate(BODY), coding.encode(), LIMIT) == BODY
    assert inflate(deflate(b""), coding.encode(), LIMIT) == b""


@given(st.binary(max_size=300), st.sampled_from(CODINGS[:6]), st.integers(0, 9))
def test_what_was_deflated_is_inflated(body: bytes, coding: tuple[str, Deflate], limit_over: int) -> None:
    name, deflate = coding
    assert inflate(deflate(body), name.encode(), len(body) + limit_over) == body


@pytest.mark.parametrize("level", range(10))
def test_every_level_of_zlib_has_a_header_that_is_known(level: int) -> None:
    assert inflate(zlib.compress(BODY, level), b"deflate", LIMIT) == BODY
    assert inflate(zlib.compress(BODY, level, wbits=9), b"deflate", LIMIT) == BODY


@pytest.mark.parametrize(("coding", "deflate"), CODINGS[:6])
def test_the_limit_is_that_of_what_is_inflated(coding: str, deflate: Deflate) -> None:
    for limit in (0, 1, 100, 20_000):
        assert len(inflate(deflate(b"x" * limit), coding.encode(), limit)) == limit
        message = refusal(deflate(b"x" * (limit + 1)), coding, TooLarge, limit)
        assert message == f"body has more than {limit} bytes when inflated, which is the limit"


@pytest.mark.parametrize(
    "coding",
    ["br", "zstd", "compress", "gzip, gzip", "gzip,identity", "deflate, gzip", "*", "utf-8", "\xe9", "x" * 9_000],
)
def test_another_coding_is_not_served(coding: str) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        inflate(BODY, coding.encode("latin-1"), LIMIT)
    assert str(caught.value).startswith("Content-Encoding is ")
    assert str(caught.value).endswith("it must be one of gzip, deflate, identity")
    assert len(str(caught.value)) <= 200
    assert caught.value.headers == (("Accept-Encoding", "gzip, deflate, identity"),)
    assert UnsupportedMedia.headers == ()


@pytest.mark.parametrize(("coding", "deflate"), CODINGS[:6])
def test_a_body_that_is_cut_off_is_refused_wherever_it_is_cut(coding: str, deflate: Deflate) -> None:
    whole = deflate(BODY)
    for length in range(len(whole)):
        refusal(whole[:length], coding)
    assert refusal(whole[:-1], coding).endswith("that is cut off")


@pytest.mark.parametrize(("coding", "deflate"), CODINGS[:6])
@pytest.mark.parametrize("rest", [b"\0", b"x", b"\x1f\x8b", b"\x1f\x8b\x08\0", BODY])
def test_what_follows_the_end_is_refused(coding: str, deflate: Deflate, rest: bytes) -> None:
    refusal(deflate(BODY) + rest, coding)


@pytest.mark.parametrize("damage", [3, 10, -1, -5])
def test_damage_is_refused(damage: int) -> None:
    for coding, deflate in CODINGS[:6]:
        body = bytearray(deflate(bytes(random.Random(1).randbytes(200))))
        if coding == "Deflate" or (coding == "deflate" and damage in (3, 10)):
            continue  # bare deflate has no checksum, and stored bytes no structure
        body[damage] ^= 0xFF
        refusal(bytes(body), coding)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", BODY),
        ("gzip", b""),
        ("deflate", BODY),
        ("deflate", b""),
        ("gzip", zlib.compress(BODY)),
        ("gzip", raw(BODY)),
    ],
)
def test_what_is_not_in_the_coding_is_refused(coding: str, body: bytes) -> None:
    assert refusal(body, coding).startswith(f"body is {'not ' if body else ''}{coding}")


def test_zlib_with_a_dictionary_is_refused() -> None:
    deflated = zlib.compressobj(zdict=BODY)
    refusal(deflated.compress(BODY) + deflated.flush(), "deflate")


def test_gzip_may_have_several_members() -> None:
    members = [gzip.compress(BODY[at : at + 7]) for at in range(0, len(BODY), 7)]
    assert inflate(b"".join(members), b"gzip", len(BODY)) == BODY
    refusal(b"".join(members), "gzip", TooLarge, len(BODY) - 1)
    refusal(b"".join(members)[:-1], "gzip")


def test_members_are_bounded() -> None:
    """Each costs a decoder and a copy of what follows it: 13,000 empty ones would fit."""
    empty = gzip.compress(b"")
    assert inflate(empty * MAX_MEMBERS, b"gzip", LIMIT) == b""
    assert refusal(empty * 13_000, "gzip") == f"body has more than {MAX_MEMBERS} gzip members, which is the limit"


@given(st.binary(max_size=100), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_are_a_body_or_a_refusal(body: bytes, coding: str) -> None:
    with contextlib.suppress(BadRequest, TooLarge):
        assert len(inflate(body, coding.encode(), 50)) <= 50


def bombs() -> list[tuple[str, bytes]]:
    """200 MB of zeros in 200 KB, as one stream (a flushed megabyte, again and again) and as 16 gzip members."""
    deflate = zlib.compressobj(9, wbits=-15)
    megabyte = deflate.compress(bytes(1_000_000)) + deflate.flush(zlib.Z_FULL_FLUSH)
    head, endless = gzip.compress(b"")[:10], megabyte * 200
    return [("gzip", head + endless), ("deflate", endless), ("gzip", gzip.compress(bytes(LIMIT)) * MAX_MEMBERS)]


def test_a_bomb_is_refused_in_little_memory() -> None:
    """0.8 MB were measured: the limit, a copy of it, and the rest of the body."""
    for coding, body in bombs():
        assert len(body) < LIMIT
        tracemalloc.start()
        try:
            refusal(body, coding, TooLarge)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 3_000_000, f"{peak / 1e6:.2f} MB"

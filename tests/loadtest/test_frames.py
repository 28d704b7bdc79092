"""Messages out of bytes, against the frames that `websockets` writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from server.client.frames import Unreadable
from server.loadtest.frames import MAX_MESSAGE, Frames

PAYLOADS = st.binary(max_size=300) | st.sampled_from((125, 126, 127, 65_535, 65_536)).map(bytes)
DATA = st.tuples(st.sampled_from((Opcode.TEXT, Opcode.BINARY)), st.lists(PAYLOADS, min_size=1, max_size=3))
CONTROL = st.tuples(st.sampled_from((Opcode.PING, Opcode.PONG, Opcode.CLOSE)), st.binary(max_size=125))


def _bytes(kind: Opcode, payload: bytes, *, fin: bool = True) -> bytes:
    return Frame(kind, payload, fin).serialize(mask=False)


def _in_parts(kind: Opcode, parts: list[bytes], between: bytes = b"") -> bytes:
    """One message in frames, with what is `between` them."""
    kinds = [kind] + [Opcode.CONT] * (len(parts) - 1)
    frames = [_bytes(k, part, fin=i == len(parts) - 1) for i, (k, part) in enumerate(zip(kinds, parts, strict=True))]
    return between.join(frames)


@given(st.lists(DATA | CONTROL, max_size=6), st.lists(st.integers(1, 70_000), max_size=8))
def test_what_is_written_is_read_however_it_is_cut(
    messages: list[tuple[Opcode, list[bytes]] | tuple[Opcode, bytes]], cuts: list[int]
) -> None:
    data, expected = b"", []
    for kind, content in messages:
        parts = [content] if isinstance(content, bytes) else content
        data += _in_parts(kind, parts)
        expected.append((kind, b"".join(parts)))
    frames, read = Frames(), list[tuple[int, bytes]]()
    for size in [*cuts, len(data)]:
        read += frames.feed(data[:size])
        data = data[size:]
    assert read == expected


@pytest.mark.parametrize("length", [0, 5, 125, 126, 300])
def test_a_cut_at_any_byte_changes_nothing(length: int) -> None:
    parts = [b"x" * length, b"", b"y"]
    data = _in_parts(Opcode.TEXT, parts, between=_bytes(Opcode.PING, b"p")) + _bytes(Opcode.TEXT, b"z")
    expected = [(Opcode.PING, b"p")] * 2 + [(Opcode.TEXT, b"x" * length + b"y"), (Opcode.TEXT, b"z")]
    for at in range(len(data) + 1):
        frames = Frames()
        assert frames.feed(data[:at]) + frames.feed(data[at:]) == expected
    byte_by_byte = Frames()
    assert [message for byte in data for message in byte_by_byte.feed(bytes([byte]))] == expected


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(Frame(Opcode.TEXT, b"x").serialize(mask=True), id="masked"),
        pytest.param(Frame(Opcode.TEXT, bytes(200)).serialize(mask=True), id="masked and longer"),
        pytest.param(b"\xc1\x01x", id="compressed"),
        pytest.param(_bytes(Opcode.CONT, b"x"), id="the rest of nothing"),
        pytest.param(_bytes(Opcode.CONT, b"x", fin=False), id="a part of nothing"),
        pytest.param(_bytes(Opcode.TEXT, b"x", fin=False) + _bytes(Opcode.TEXT, b"y"), id="a message in another"),
        pytest.param(b"\x09\x01p", id="a ping in parts"),
        pytest.param(b"\x89\x7e\x00\x7e" + bytes(126), id="a ping too long"),
        pytest.param(b"\x81\x7f" + (MAX_MESSAGE + 1).to_bytes(8, "big"), id="too long"),
        pytest.param(b"\x81\x7f" + b"\xff" * 8, id="longer than may be"),
    ],
)
def test_what_no_server_may_send_is_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        Frames().feed(data)


def test_parts_are_bounded_together() -> None:
    frames = Frames()
    frames.feed(_bytes(Opcode.TEXT, bytes(MAX_MESSAGE), fin=False))
    with pytest.raises(Unreadable, match="more than"):
        frames.feed(_bytes(Opcode.CONT, b"x"))

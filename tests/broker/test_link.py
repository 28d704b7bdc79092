"""The link's rules, on a transport that only remembers. Numbers are those in `server.broker.link`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import hiredis
import pytest

from server.broker.link import GATHERED, Link, LinkLost


class Wire(asyncio.Transport):
    """What was written, by write; answers are fed to the link by the test."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.aborted = False
        self.link = link
        link.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.writes.append(bytes(data))

    def abort(self) -> None:
        self.aborted = True

    async def flushed(self) -> list[bytes]:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return self.writes


def push(*items: bytes | int) -> bytes:
    parts = [b":%d\r\n" % i if isinstance(i, int) else b"$%d\r\n%b\r\n" % (len(i), i) for i in items]
    return b">%d\r\n" % len(items) + b"".join(parts)


def packed(*commands: tuple[str, ...]) -> bytes:
    return b"".join(hiredis.pack_command(command) for command in commands)  # type: ignore[arg-type]  # declared for one argument


async def test_the_first_goes_at_once_where_no_answer_is_awaited() -> None:
    link = Link()
    wire = Wire(link)
    link.send(lambda reply: None, "PING")
    assert wire.writes == [packed(("PING",))]


async def test_what_one_tick_sends_while_an_answer_is_awaited_is_one_write() -> None:  # rule 1
    link = Link()
    wire = Wire(link)
    asked = [link.command("PING"), link.command("GET", "a"), link.command("GET", "b")]
    assert wire.writes == [packed(("PING",))]
    assert await wire.flushed() == [packed(("PING",)), packed(("GET", "a"), ("GET", "b"))]
    link.data_received(b"+PONG\r\n$1\r\nx\r\n$1\r\ny\r\n")
    assert [await a for a in asked] == [b"PONG", b"x", b"y"]


async def test_many_do_not_wait_for_the_end_of_the_tick() -> None:
    link = Link()
    wire = Wire(link)
    for number in range(2 + GATHERED):
        link.send(lambda reply: None, "GET", str(number))
    gets = [("GET", str(number)) for number in range(2 + GATHERED)]
    assert wire.writes == [packed(gets[0]), packed(*gets[1 : 1 + GATHERED])]
    assert await wire.flushed() == [*wire.writes[:2], packed(gets[-1])]


async def test_what_was_not_sent_when_the_link_is_lost_is_not_sent() -> None:
    link = Link()
    wire = Wire(link)
    asked = [link.command("PING"), link.command("GET", "a")]
    link.abort()
    assert await wire.flushed() == [packed(("PING",))]
    for future in asked:
        with pytest.raises(LinkLost):
            await future


async def test_replies_may_come_in_pieces() -> None:
    link = Link()
    Wire(link)
    asked = link.command("GET", "a")
    for byte in b"$5\r\nhello\r\n":
        link.data_received(bytes((byte,)))
    assert await asked == b"hello"


async def test_a_caller_that_gave_up_keeps_its_place() -> None:  # rule 2
    link = Link()
    Wire(link)
    first, second = link.command("GET", "a"), link.command("GET", "b")
    first.cancel()
    link.data_received(b"$1\r\n1\r\n$1\r\n2\r\n")
    assert await second == b"2"


async def test_an_error_reply_is_raised_and_shifts_nothing() -> None:
    link = Link()
    Wire(link)
    first, second = link.command("GET", "a"), link.command("GET", "b")
    link.data_received(b"-ERR no\r\n$1\r\n2\r\n")
    with pytest.raises(hiredis.ReplyError):
        await first
    assert await second == b"2"


async def test_a_confirmation_answers_its_own_request() -> None:  # rule 3
    told: list[Any] = []

    def tell(*what: Any) -> None:
        told.append(what)

    link = Link(listening=True, on_message=tell, on_unasked=tell)
    Wire(link)
    for kind, name in ((b"ssubscribe", "on"), (b"sunsubscribe", "off"), (b"ssubscribe", "on again")):
        link.send(partial(tell, name), kind, "c", confirms=(kind, b"c"))
    link.data_received(push(b"ssubscribe", b"c", 1))
    assert told == [("on", None)]
    link.data_received(push(b"smessage", b"c", b"hello") + push(b"sunsubscribe", b"c", 0))
    link.data_received(push(b"ssubscribe", b"c", 1) + push(b"sunsubscribe", b"c", 0))
    assert told[1:] == [(b"c", b"hello"), ("off", None), ("on again", None), (b"sunsubscribe", b"c")]


async def test_a_refused_subscription_is_told() -> None:
    told: list[Any] = []
    link = Link(listening=True)
    Wire(link)
    link.send(told.append, "SSUBSCRIBE", "c", confirms=(b"ssubscribe", b"c"))
    link.data_received(b"-NOPERM no\r\n")
    assert isinstance(told[0], hiredis.ReplyError)


@pytest.mark.parametrize("answer", [b"+OK\r\n", b"+OK\r\n+OK\r\n", b"?\r\n"])
async def test_a_reply_that_nobody_asked_for_ends_the_link(answer: bytes) -> None:
    link = Link(listening=True)
    wire = Wire(link)
    lost: list[Any] = []
    link.send(lost.append, "SSUBSCRIBE", "c", confirms=(b"ssubscribe", b"c"))
    link.data_received(answer)
    assert wire.aborted
    assert isinstance(lost[0], LinkLost)


async def test_a_silent_link_is_aborted_at_the_second_look() -> None:  # rule 4
    link = Link()
    wire = Wire(link)
    asked = link.command("GET", "a")
    link.expire(60)
    link.expire(60)
    assert not wire.aborted
    link.expire(-1)
    assert not wire.aborted, "the answer may be in the socket, unread"
    link.expire(-1)
    assert wire.aborted
    with pytest.raises(LinkLost):
        await asked
    assert link.lost.done()


async def test_an_answer_between_two_looks_clears_the_suspicion() -> None:
    link = Link()
    wire = Wire(link)
    first, second = link.command("GET", "a"), link.command("GET", "b")
    link.expire(-1)
    link.data_received(b"$1\r\n1\r\n")
    link.expire(-1)
    assert not wire.aborted
    assert await first == b"1"
    link.abort()
    with pytest.raises(LinkLost):
        await second


async def test_a_lost_link_answers_everybody_and_takes_nothing_more() -> None:
    link = Link()
    Wire(link)
    asked = link.command("GET", "a")
    link.connection_lost(None)
    late = link.command("GET", "b")
    for future in (asked, late):
        with pytest.raises(LinkLost):
            await future
    assert not link.alive
    link.abort()

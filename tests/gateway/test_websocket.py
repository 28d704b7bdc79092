"""The gateway's clocks, on a loop and a transport that do what the test says: what would take a minute in earnest."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.frames import Opcode

from server.auth.address import Way
from server.auth.build import NO_LIMITS
from server.auth.development import TENANT
from server.auth.principal import Credentials, Principal, Scope
from server.auth.quota import Quota
from server.broker.leases import Leases
from server.events import AgentId
from server.gateway.connection import CLOSE_TIMEOUT_S, HIGH_WATER_BYTES, _is_whole
from server.gateway.door import Door
from server.gateway.holders import Holders
from server.gateway.hub import Hub
from server.gateway.keepalive import Wheel
from server.gateway.stay import STUCK_S
from server.gateway.websocket import Gateway
from server.limits import Pace
from server.metrics import Metrics
from server.session import Handled, Session
from server.wire import CloseCode
from tests.gateway.devices import knock, masked, upgrade

PING = b"\x89\x00"
PER_S, BURST = 20, 50


class Clock:
    """As much of a loop as the gateway asks for: the time, and what is to happen later."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._later: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self._later.append((self.now + delay, callback))

    def advance(self, seconds: float) -> None:
        """Let the time go by."""
        self.now += seconds
        for due, callback in list(self._later):
            if due <= self.now:
                self._later.remove((due, callback))
                callback()


class Transport(asyncio.Transport):
    """Takes what is written, and hands it to a device that reads when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gateway: Gateway | None = None
        self.waiting = bytearray()
        self.reading = True
        self.closing = self.eof = self.aborted = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 5) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == HIGH_WATER_BYTES

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.eof, "nothing is written after the end"
        before = len(self.waiting)
        self.waiting += data
        if before <= HIGH_WATER_BYTES < len(self.waiting) and self.gateway:
            self.gateway.pause_writing()

    def drained(self, left: int = 0) -> bytes:
        """What the device read, all but `left` bytes."""
        before = len(self.waiting)
        read = bytes(self.waiting[: before - left])
        del self.waiting[: before - left]
        if before > HIGH_WATER_BYTES // 4 >= left and self.gateway:
            self.gateway.resume_writing()
        return read

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Anybody:
    """An authenticator that knows everybody already."""

    def key(self, credentials: Credentials) -> bytes:
        return b""

    def known(self, key: bytes) -> Principal:
        return Principal(AgentId.of(TENANT, "ada"), frozenset(Scope))


class Store:
    """A broker that confirms nothing, so that a session waits for its welcome until the test gives it."""

    ready = usable = True
    store_id = "ab"

    def subscribe(self, subscriber: object) -> None:
        """Never confirmed."""


class Connection:
    """A gateway with its clock and transport."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.clock, self.transport = Clock(), Transport()
        self.hub = Hub(Metrics(), ping_s=25)
        self.hub.attach(cast(Any, Store()))
        door = Door(
            hub=self.hub,
            broker=cast(Any, Store()),
            authenticator=cast(Any, Anybody()),
            holders=Holders(),
            quota=Quota(NO_LIMITS, self.hub.metrics),
            leases=Leases(cast(Any, None), "cs", 0),
            wheel=Wheel(25, 10),
            tasks=tasks,
            way=Way(),
            base_path="",
            allowed_origins=(),
            cookie="clearsync",
            max_frame_bytes=65536,
            max_sessions=0,
            frames=Pace(PER_S, BURST),
        )
        config = uvicorn.Config("none", log_config=None)
        self.gateway = Gateway(config, ServerState(), {"door": door}, cast(Any, self.clock))
        self.transport.gateway = self.gateway
        self.gateway.connection_made(self.transport)
        knock(self.gateway, upgrade(cast(Any, SimpleNamespace(port=1))))

    @property
    def session(self) -> Session:
        (session,) = self.hub.sessions()
        return session

    def welcome(self) -> None:
        """What the hub does after the first read."""
        read = Handled("ab", 5, 0, False, 5, [])
        self.session.welcome(read, 25)
        self.session.caught_up(read, live=True)
        assert b'"welcome"' in self.transport.drained()

    def said(self) -> list[str]:
        """What the device was sent, in short: the type of each frame with its code, and the code of a close frame."""
        return [short(opcode, data) for opcode, data in frames_of(self.transport.drained())]

    @property
    def counted(self) -> int:
        """The frames that were too many."""
        return self.hub.metrics.limited_total["frames",]

    def lag(self) -> None:
        """The device stops reading, and the buffer fills."""
        self.transport.write(b"x" * (HIGH_WATER_BYTES + 1))


def frames_of(data: bytes) -> Iterator[tuple[Opcode, bytes]]:
    """The short frames of a server."""
    while data:
        length, start = data[1], 2
        if length == 126:
            length, start = int.from_bytes(data[2:4], "big"), 4
        yield Opcode(data[0] & 0x0F), data[start : start + length]
        data = data[start + length :]


def short(opcode: Opcode, data: bytes) -> str:
    if opcode is Opcode.CLOSE:
        return str(int.from_bytes(data[:2], "big"))
    if opcode is not Opcode.TEXT:
        return opcode.name
    frame = json.loads(data)
    return f"{frame['type']} {frame['ref']} {frame['code']}" if frame["type"] == "error" else str(frame["type"])


@pytest.fixture
async def connection() -> Connection:
    """A session that waits for its welcome."""
    async with asyncio.TaskGroup() as tasks:
        connection = Connection(tasks)
    assert connection.transport.drained().startswith(b"HTTP/1.1 101 ")
    return connection


def test_a_device_is_heard_once_it_was_welcomed(connection: Connection) -> None:
    assert not connection.transport.reading
    connection.welcome()
    assert connection.transport.reading


def test_a_device_that_waits_for_its_welcome_need_not_answer(connection: Connection) -> None:
    for _ in range(3):
        connection.clock.advance(25)
        connection.gateway.ping(connection.clock.now)
        assert connection.transport.drained() == PING  # some middlebox may be waiting for a sign of life
        connection.gateway.overdue(connection.clock.now + 10)
    assert not connection.transport.aborted


def test_a_live_device_has_to_answer(connection: Connection) -> None:
    connection.welcome()
    connection.gateway.ping(connection.clock.now)
    assert connection.transport.drained() == PING
    connection.gateway.data_received(masked(b"", Opcode.PONG))
    connection.gateway.overdue(connection.clock.now + 10)
    assert not connection.transport.aborted
    connection.gateway.ping(connection.clock.now + 25)
    connection.gateway.overdue(connection.clock.now + 35)
    assert connection.transport.aborted


def test_a_lagging_device_is_neither_pinged_nor_heard(connection: Connection) -> None:
    connection.welcome()
    connection.gateway.ping(connection.clock.now)
    connection.lag()
    assert not connection.transport.reading
    connection.gateway.overdue(connection.clock.now + 10)
    size = connection.transport.get_write_buffer_size()
    connection.gateway.ping(connection.clock.now + 25)
    assert connection.transport.get_write_buffer_size() == size
    assert not connection.transport.aborted


def test_a_device_that_has_just_drained_is_not_overdue(connection: Connection) -> None:
    """Its pong is in the socket, behind the ping that it could read only now."""
    connection.welcome()
    connection.gateway.ping(connection.clock.now)
    connection.lag()
    connection.transport.drained()
    assert connection.transport.reading
    connection.gateway.overdue(connection.clock.now + 10)
    assert not connection.transport.aborted


def test_a_lagging_device_that_takes_nothing_for_a_minute_is_dead(connection: Connection) -> None:
    connection.welcome()
    connection.lag()
    start = connection.clock.now
    connection.gateway.ping(start)
    connection.gateway.ping(start + STUCK_S - 1)
    assert not connection.transport.aborted
    connection.gateway.ping(start + STUCK_S)
    assert connection.transport.aborted


def test_a_lagging_device_that_takes_a_little_lives(connection: Connection) -> None:
    connection.welcome()
    connection.lag()
    for minute in range(10):
        connection.gateway.ping(connection.clock.now + minute * STUCK_S)
        connection.transport.drained(left=connection.transport.get_write_buffer_size() - 1)
    assert not connection.transport.aborted


def test_a_second_lag_has_a_minute_of_its_own(connection: Connection) -> None:
    connection.welcome()
    connection.lag()
    connection.gateway.ping(connection.clock.now)
    connection.transport.drained()
    connection.lag()
    connection.gateway.ping(connection.clock.now + STUCK_S)
    assert not connection.transport.aborted


@pytest.mark.parametrize(
    "ending",
    [masked(b"\x03\xe8", Opcode.CLOSE), masked(b"x", Opcode.CONT)],
    ids=["it closes", "it breaks a rule"],
)
def test_a_device_that_ends_and_does_not_read_is_let_go(connection: Connection, ending: bytes) -> None:
    connection.welcome()
    connection.transport.write(b"x" * 1000)
    connection.gateway.data_received(ending)
    connection.session.answer(cast(Any, None))  # nothing follows a close frame: this would fail
    connection.gateway.ping(connection.clock.now)
    connection.clock.advance(CLOSE_TIMEOUT_S - 0.1)
    assert not connection.transport.aborted
    connection.clock.advance(0.2)
    assert connection.transport.aborted


def test_a_close_of_ours_that_is_not_answered_is_cut_short(connection: Connection) -> None:
    connection.welcome()
    connection.session.close(CloseCode.RESTART, "restart")
    assert connection.transport.drained() == b"\x88\x09\x03\xf4restart"
    connection.clock.advance(CLOSE_TIMEOUT_S + 0.1)
    assert connection.transport.aborted


def test_a_close_of_ours_reaches_one_that_waits_for_its_welcome(connection: Connection) -> None:
    connection.session.close(CloseCode.RESTART, "restart")
    assert connection.transport.reading
    connection.gateway.data_received(masked(b"\x03\xf4", Opcode.CLOSE))
    assert connection.transport.closing
    assert not connection.transport.aborted


# answers to our pings, which the parser does not see

PONG = masked(b"", Opcode.PONG)


def test_a_pong_within_another_frame_is_what_that_frame_says(connection: Connection) -> None:
    """The mask is chosen so that the middle of a text looks like a pong on its way."""
    text = b'{"type":"ping","ref":"abcdef"}'
    at = text.index(b"cdef") - 1
    mask = [0, 0, 0, 0]
    mask[at % 4], mask[(at + 1) % 4] = text[at] ^ 0x8A, text[at + 1] ^ 0x80
    frame = bytes((0x81, 0x80 + len(text), *mask)) + bytes(b ^ mask[n % 4] for n, b in enumerate(text))
    cut = 6 + at
    assert frame[cut : cut + 2] == PONG[:2]
    connection.welcome()
    connection.gateway.ping(connection.clock.now)
    connection.transport.drained()
    for part in (frame[:cut], frame[cut : cut + 6], frame[cut + 6 :]):
        connection.gateway.data_received(part)
    assert connection.said() == ["pong"]


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_pong_in_pieces_is_a_pong(connection: Connection, cut: int) -> None:
    connection.welcome()
    connection.gateway.ping(connection.clock.now)
    connection.gateway.data_received(PONG[:cut])
    connection.gateway.data_received(PONG[cut:] + PONG[:cut])
    connection.gateway.data_received(PONG[cut:])
    connection.transport.drained()
    connection.gateway.data_received(ASKS)
    assert connection.said() == ["pong"]
    assert not connection.transport.closing


LONG = masked(b'{"type":"ping"%b}' % (b" " * 150))


@pytest.mark.parametrize("before", [PONG, masked(b"x" * 125, Opcode.PONG), masked(b"", Opcode.PING), LONG])
def test_a_pong_between_the_parts_of_a_text_is_one(connection: Connection, before: bytes) -> None:
    connection.welcome()
    connection.gateway.data_received(before)
    connection.gateway.data_received(masked(b'{"type":', fin=False))
    connection.gateway.ping(connection.clock.now)
    connection.transport.drained()
    connection.gateway.data_received(PONG)
    connection.gateway.overdue(connection.clock.now + 10)
    assert not connection.transport.aborted
    connection.gateway.data_received(masked(b'"ping"}', Opcode.CONT))
    assert connection.said() == ["pong"]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 3000])
def test_what_is_whole_is_known_to_be(size: int) -> None:
    frame = masked(b"x" * size)
    for data in (frame, frame + PONG, PONG + frame + frame):
        assert _is_whole(data)
    assert not any(_is_whole(frame[:end]) for end in range(1, len(frame)))


async def test_what_is_left_of_a_connection_goes_at_once(connection: Connection) -> None:
    """Without a collector: else it is for each device that left."""
    connection.welcome()
    parser = weakref.ref(connection.gateway._ws)  # the gateway's own, and it is the only one that refers to it
    gc.collect()
    gc.disable()
    try:
        connection.transport.gateway = None
        connection.gateway.connection_lost(None)
        del connection.gateway
        assert parser() is None
    finally:
        gc.enable()


# more frames than a device may send

ASKS = masked(b'{"type":"ping","ref":"7"}')
FLOODS = [
    ASKS,
    masked(b"", Opcode.PING),
    masked(b"", Opcode.PONG),
    masked(b"", Opcode.CONT, fin=False),
]
flood = pytest.mark.parametrize("frame", FLOODS, ids=["text", "ping", "pong", "continuation"])


def test_a_text_beyond_the_burst_is_answered_busy_and_as_many_again_end_it(connection: Connection) -> None:
    connection.welcome()
    connection.gateway.data_received(ASKS * BURST)
    assert connection.said() == ["pong"] * BURST
    for _ in range(BURST):
        connection.gateway.data_received(ASKS)
    assert connection.said() == ["error 7 busy"] * BURST
    assert not connection.transport.closing
    connection.gateway.data_received(ASKS)
    assert connection.said() == ["1008"]
    assert connection.transport.eof
    assert connection.counted == BURST + 1
    connection.clock.advance(CLOSE_TIMEOUT_S + 0.1)
    assert connection.transport.aborted


@flood
def test_any_frame_counts(connection: Connection, frame: bytes) -> None:
    connection.welcome()
    if frame == FLOODS[-1]:
        connection.gateway.data_received(masked(b"", fin=False))
    for _ in range(2 * BURST - 1):
        connection.gateway.data_received(frame)
    assert "1008" not in connection.said()
    for _ in range(2):
        connection.gateway.data_received(frame)
    assert "1008" in connection.said()


def test_who_waits_may_send_again(connection: Connection) -> None:
    connection.welcome()
    for _ in range(5):
        connection.gateway.data_received(ASKS * BURST)
        assert connection.said() == ["pong"] * BURST
        connection.clock.advance(BURST / PER_S)
    assert connection.counted == 0


def test_answers_to_our_pings_do_not_count(connection: Connection) -> None:
    connection.welcome()
    for _ in range(3 * BURST):
        connection.gateway.ping(connection.clock.now)
        connection.gateway.data_received(masked(b"", Opcode.PONG))
    assert connection.counted == 0
    connection.transport.drained()
    connection.gateway.data_received(ASKS)
    assert connection.said() == ["pong"]


@flood
def test_what_follows_a_flood_is_neither_read_nor_answered(connection: Connection, frame: bytes) -> None:
    """All of it in one read: what is answered is bounded by the burst and by a piece, not by what came."""
    connection.welcome()
    connection.gateway.data_received((masked(b"", fin=False) if frame == FLOODS[-1] else b"") + frame * 40_000)
    assert not connection.transport.reading
    said = connection.said()
    assert said[-1] == "1008"
    assert len(said) <= 2 * BURST + 1 + 4096 // len(masked(b""))
    connection.gateway.data_received(ASKS * 1000)
    assert connection.said() == []


def test_one_that_floods_and_does_not_read_is_not_heard_again_when_it_reads(connection: Connection) -> None:
    connection.welcome()
    connection.lag()
    connection.gateway.data_received(ASKS * (2 * BURST + 1))  # of the read in which the pause came
    connection.transport.drained()
    assert not connection.transport.reading
    connection.clock.advance(CLOSE_TIMEOUT_S + 0.1)
    assert connection.transport.aborted


def test_a_flood_behind_a_goodbye_is_nothing(connection: Connection) -> None:
    connection.welcome()
    connection.gateway.data_received(masked(b"\x03\xe8", Opcode.CLOSE) + ASKS * 1000)
    assert connection.said() == ["1000"]
    assert connection.counted == 0

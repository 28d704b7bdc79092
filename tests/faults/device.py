"""A light device that comes back by itself, as `docs/protocol.md` asks of clients, and keeps book of what it got."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Final

import msgspec

from server.wire import SYNC_PATH, CloseCode
from tests.faults.posts import Address
from tests.faults.sockets import Ending, WebSocket, upgrade
from tests.gateway.devices import Pair, basic

HANDSHAKE_S: Final = 10.0
CLOSE_S: Final = 5.0
BACKOFF_S: Final = 0.1
BACKOFF_MOST_S: Final = 3.0
AFTER_RESTART_S: Final = 1.0
_FOR_GOOD: Final = {*(code for code in CloseCode if not code.reconnect), *range(4000, 5000)}


class _Event(msgspec.Struct):
    Type: str
    Id: int


class _Frame(msgspec.Struct):
    type: str
    cursor: str = ""
    events: list[_Event] = []


_decode: Final = msgspec.json.Decoder(_Frame).decode


class Network:
    """What the devices of a fleet share: where they connect, chance, and how many may do so at one time."""

    def __init__(self, urls: Sequence[str], seed: int, at_once: int) -> None:
        self.addresses = [Address(url) for url in urls]
        self.chance = random.Random(seed)
        self.connecting = asyncio.Semaphore(at_once)


class Device:
    """One device of one agent. Between `start` and `stop` it connects again by itself, with its cursor, after a pause
    with full jitter; a refusal that would come again, such as 401, is a failure, and it gives up."""

    def __init__(self, network: Network, agent: str, name: str, turn: int = 0) -> None:
        self.agent = agent
        self.name = name
        self.cursor = ""
        self.seen: dict[Pair, int] = {}
        self.arrived: dict[Pair, float] = {}
        self.resets = 0
        self.welcomes = 0
        self.close_codes: list[int] = []
        self.failures: list[str] = []
        self.here = asyncio.Event()
        """Set while it is connected and welcomed, or when it has given up."""
        self.news = asyncio.Event()
        """Set by each frame; whoever waits clears it."""
        self._network = network
        self._turn = turn
        self._attempts = 0
        self._held = False
        self._stopping = False
        self._socket: WebSocket | None = None
        self._life: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether it has been welcomed, and its connection has not ended."""
        return self.here.is_set() and self._socket is not None

    async def start(self) -> None:
        """Connect, and be welcomed, however long that takes. Idempotent."""
        if self._life is None:
            self._stopping = False
            self._life = asyncio.create_task(self._live())
        await self.here.wait()

    async def stop(self) -> None:
        """Leave, with a clean close. Idempotent; `start` comes back with the same cursor."""
        life, self._life = self._life, None
        if life is None:
            return
        self._stopping = True
        self.release()
        if self._socket is not None and self.connected:
            self._socket.close()
            await asyncio.wait({life}, timeout=CLOSE_S)
        life.cancel()
        await asyncio.wait({life})
        if not life.cancelled():
            life.result()

    def hold(self) -> None:
        """Stop reading, on the next connections too."""
        self._held = True
        if self._socket is not None and self.connected:
            self._socket.pause()

    def release(self) -> None:
        """Read on."""
        self._held = False
        if self._socket is not None:
            self._socket.resume()

    def cut(self) -> None:
        """Reset the connection; it comes back by itself."""
        if self._socket is not None:
            self._socket.abort()

    async def _live(self) -> None:
        while not self._stopping and not self.failures:
            ending = await self._connection()
            self.here.clear()
            if not self._stopping:
                self._judge(ending)
                await asyncio.sleep(self._pause_s(ending))
        if self.failures:
            self.here.set()

    async def _connection(self) -> Ending:
        """From the handshake to the end."""
        address = self._network.addresses[self._turn % len(self._network.addresses)]
        self._turn += 1
        query = f"?device={self.name}" + (f"&cursor={self.cursor}" if self.cursor else "")
        handshake = upgrade(address.name, address.base + SYNC_PATH + query, basic(self.agent))
        socket = self._socket = WebSocket(handshake, self._received)
        try:
            async with self._network.connecting, asyncio.timeout(HANDSHAKE_S):
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: socket, address.host, address.port)
                await socket.answered
            return await socket.ended
        except (OSError, TimeoutError):
            return Ending()
        finally:
            socket.abort()
            self._socket = None

    def _judge(self, ending: Ending) -> None:
        self.close_codes.append(ending.code)
        if ending.code in _FOR_GOOD:
            self.failures.append(f"closed with {ending.code}")
        if 400 <= ending.status < 500 and ending.status != 429:
            self.failures.append(f"refused with {ending.status}")

    def _pause_s(self, ending: Ending) -> float:
        """Anywhere in a range that doubles; a restart is no reason to think that the server is in trouble."""
        uniform = self._network.chance.uniform
        if ending.retry_after_s:
            return ending.retry_after_s + uniform(0, ending.retry_after_s)
        if ending.code == CloseCode.RESTART:
            return uniform(0, AFTER_RESTART_S)
        most = min(BACKOFF_MOST_S, BACKOFF_S * 2.0 ** min(self._attempts, 10))
        self._attempts += 1
        return uniform(0, most)

    def _received(self, payload: bytes) -> None:
        try:
            frame = _decode(payload)
        except msgspec.DecodeError as problem:
            self.failures.append(f"sent {payload[:80]!r}: {problem}")
            self.cut()
            return
        now = asyncio.get_running_loop().time()
        for event in frame.events if frame.type == "clear" else ():
            pair = (event.Type, event.Id)
            self.seen[pair] = self.seen.get(pair, 0) + 1
            self.arrived.setdefault(pair, now)
        if frame.type == "welcome":
            self._welcomed()
        self.resets += frame.type == "reset"
        if frame.type in ("welcome", "clear", "reset"):
            self.cursor = frame.cursor
        self.news.set()

    def _welcomed(self) -> None:
        self.welcomes += 1
        self._attempts = 0
        self.here.set()
        if self._held and self._socket is not None:
            self._socket.pause()

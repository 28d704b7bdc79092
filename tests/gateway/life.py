"""Connections of a worker without a network: the real `Gateway` on a loop and a transport that do what the test says.

What asks others stops at a hook: `authenticate`, `redeem` and `lease`. So a test chooses what happens meanwhile, and
`World.left` says what nobody gave back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from types import SimpleNamespace
from typing import Any, Final, cast

import uvicorn
from uvicorn.server import ServerState
from websockets.frames import Opcode

from server.auth.address import Way
from server.auth.build import NO_LIMITS
from server.auth.principal import Authenticator, Credentials, Principal
from server.auth.quota import Quota
from server.broker.leases import Lease
from server.errors import Unauthenticated
from server.events import AgentId
from server.gateway.door import Door
from server.gateway.holders import Holders
from server.gateway.hub import Hub
from server.gateway.keepalive import Wheel
from server.gateway.stay import Stay
from server.gateway.websocket import Gateway
from server.metrics import Metrics
from server.session import Handled, Session
from server.wire import SYNC_PATH
from tests.gateway.devices import knock, masked, upgrade

Hook = Callable[[str], Awaitable[None]]
CRM: Final = "https://crm.example.com"
CHALLENGE: Final = 'Basic realm="x", SoTicket realm="x"'
_CONFIG: Final = uvicorn.Config("none", log_config=None)


class Gates:
    """A hook: whoever comes to a place that is closed waits there until it is opened."""

    def __init__(self, *closed: str) -> None:
        self._here = {place: asyncio.Event() for place in closed}
        self._open = {place: asyncio.Event() for place in closed}
        self.passed: list[str] = []

    async def __call__(self, place: str) -> None:
        if place in self._here:
            self._here[place].set()
            await self._open[place].wait()
        self.passed.append(place)

    async def reached(self, place: str) -> None:
        """Somebody waits there."""
        async with asyncio.timeout(2):
            await self._here[place].wait()

    def open(self, place: str) -> None:
        """From here on it stops nobody."""
        self._open[place].set()


class Timer:
    """What is to happen later, or never."""

    def __init__(self, loop: Loop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self.callback = callback

    def cancel(self) -> None:
        """Idempotent."""
        if self in self._loop.timers:
            self._loop.timers.remove(self)

    def fire(self) -> None:
        """Its time has come."""
        self.cancel()
        self.callback()


class Loop:
    """As much of a loop as the gateway asks for. Time stands still, timers fire when the test says so."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def time(self) -> float:
        return 1000.0

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        assert delay >= 0
        self.timers.append(Timer(self, callback))
        return self.timers[-1]


class Transport(asyncio.Transport):
    """Keeps what is written; closed, it loses the connection at the next turn of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.gateway: Gateway | None = None
        self.sent = bytearray()
        self.wrote = asyncio.Event()
        self.reading = True
        self.closing = self.lost = self._ended = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 5) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """It has room for all."""

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.lost, "nothing is written once it is gone"
        assert not self._ended, "nothing is written after the end"
        self.sent += data
        self.wrote.set()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._ended = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.lose)

    abort = close

    def lose(self) -> None:
        """It is gone, whoever ended it."""
        self.closing = True
        if not self.lost and self.gateway is not None:
            self.lost = True
            self.gateway.connection_lost(None)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Guard:
    """An `Authenticator` that knows whom `who` knows, by the name in Basic credentials or by the ticket."""

    challenge = CHALLENGE

    def __init__(self, hook: Hook, who: Callable[[str], Principal]) -> None:
        self._hook = hook
        self._who = who

    def key(self, credentials: Credentials) -> bytes:
        return b""

    def known(self, key: bytes) -> Principal | None:
        return None

    async def authenticate(self, credentials: Credentials, address: str) -> Principal:
        await self._hook("authenticate")
        if credentials.authorization is None:
            raise Unauthenticated("credentials are missing", self.challenge)
        return self._who(credentials.authorization.decode())

    async def redeem(self, ticket: str, device: str, address: str) -> Principal:
        await self._hook("redeem")
        return self._who(ticket)

    def revoke(self, grants: frozenset[str]) -> None:
        """It remembers nothing."""


class Places:
    """Leases that are counted."""

    def __init__(self, hook: Hook, limit: int) -> None:
        self._hook = hook
        self.limit = limit
        self.held = 0

    async def take(self, agent: AgentId) -> Lease | None:
        await self._hook("lease")
        if self.held >= self.limit:
            return None
        self.held += 1
        return Lease(agent, 0, held=True)

    def release(self, lease: Lease) -> None:
        assert lease.held, "given back twice"
        lease.held = False
        self.held -= 1


class Tasks:
    """A worker's tasks, which can be waited for."""

    def __init__(self) -> None:
        self._all: list[asyncio.Task[None]] = []

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._all.append(task)
        return task

    async def done(self) -> None:
        """All of them, and what they closed is gone."""
        async with asyncio.timeout(2):
            while self._all:
                await self._all.pop()
        await asyncio.sleep(0)


class Store:
    """A broker that confirms nothing: a session waits for its welcome until the test gives it."""

    ready = usable = True
    store_id = "ab"

    def subscribe(self, subscriber: object) -> None:
        """Never confirmed."""


class Visit:
    """One connection, at whose other end the test is."""

    def __init__(self, world: World, head: bytes) -> None:
        self.transport = Transport()
        state = {"door": world.door}
        self.gateway = Gateway(_CONFIG, world.server_state, state, cast(Any, world.loop))
        self.transport.gateway = self.gateway
        self.gateway.connection_made(self.transport)
        knock(self.gateway, head)

    @property
    def status(self) -> int:
        """What its handshake was answered, 0 where it was not."""
        return int(self.transport.sent.split(b" ", 2)[1]) if self.transport.sent else 0

    def header(self, name: str) -> str:
        """One header of that answer."""
        lines = bytes(self.transport.sent).partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return dict(line.lower().split(": ", 1) for line in lines)[name]

    def hears(self, text: bytes) -> None:
        """It was sent this; what was sent up to now is not looked at again."""
        assert text in self.transport.sent, bytes(self.transport.sent)
        self.transport.sent.clear()

    async def until(self, text: bytes) -> None:
        """It was sent this."""
        async with asyncio.timeout(2):
            while text not in self.transport.sent:
                self.transport.wrote.clear()
                await self.transport.wrote.wait()

    def say(self, **frame: Any) -> None:
        """A frame of the device's."""
        assert self.transport.reading, "it is not heard now"
        self.gateway.data_received(masked(json.dumps(frame).encode()))

    def refresh(self, authorization: str, ref: str = "1") -> None:
        """New credentials."""
        self.say(type="refresh", ref=ref, authorization=authorization)

    def goodbye(self) -> None:
        """The device closes."""
        self.gateway.data_received(masked(b"\x03\xe8", Opcode.CLOSE))


class World:
    """A worker's door, and who came to it."""

    def __init__(
        self,
        hook: Hook,
        who: Callable[[str], Principal],
        *,
        authenticator: Authenticator | None = None,
        per_agent: int = 1000,
        max_sessions: int = 0,
    ) -> None:
        self.loop, self.tasks, self.server_state = Loop(), Tasks(), ServerState()
        self.hub, self.holders, self.places = Hub(Metrics(), ping_s=25), Holders(), Places(hook, per_agent)
        self.store, self.wheel = Store(), Wheel(25, 10)
        self.hub.attach(cast(Any, self.store))
        self.door = Door(
            hub=self.hub,
            broker=cast(Any, self.store),
            authenticator=authenticator or Guard(hook, who),
            holders=self.holders,
            quota=Quota(NO_LIMITS, self.hub.metrics),
            leases=cast(Any, self.places),
            wheel=self.wheel,
            tasks=cast(Any, self.tasks),
            way=Way(),
            base_path="",
            allowed_origins=(CRM,),
            cookie="clearsync",
            max_frame_bytes=65536,
            max_sessions=max_sessions,
        )

    def come(
        self, user: str | None = "ada", *, device: str = "phone", ticket: str = "", origin: str | None = None
    ) -> Visit:
        """A handshake: with Basic, or a one-use ticket instead."""
        target = f"{SYNC_PATH}?device={device}" + (f"&ticket={ticket}" if ticket else "")
        extra = [*([f"Origin: {origin}"] if origin else ())]
        return Visit(self, upgrade(cast(Any, SimpleNamespace(port=1)), target, *extra, user=None if ticket else user))

    def sessions(self) -> dict[str, Session]:
        """By device."""
        return {session.device: session for session in self.hub.sessions()}

    def welcome(self, session: Session) -> None:
        """What the hub does after the first read."""
        read = Handled(self.store.store_id, 5, 0, False, 5, [])
        session.welcome(read, 25)
        session.caught_up(read, live=True)

    async def welcomed(self, user: str = "ada") -> Visit:
        """A device that came and may speak."""
        visit = self.come(user)
        await self.tasks.done()
        self.welcome(self.sessions()["phone"])
        visit.hears(b'"welcome"')
        return visit

    def left(self) -> dict[str, Any]:
        """What is still held, once everybody has gone: nothing."""
        held = {
            "holders": self.holders.grants(),
            "leases": self.places.held,
            "wheel": sum(map(len, self.wheel._slots)),
            "timers": [timer for timer in self.loop.timers if isinstance(_owner(timer), Stay)],
            "sessions": self.hub.session_count,
            "connections": len(self.server_state.connections),
        }
        return {name: value for name, value in held.items() if value}


def _owner(timer: Timer) -> object:
    """Whose method it calls; a transport that is gone may be ended once more."""
    return getattr(timer.callback, "__self__", None)

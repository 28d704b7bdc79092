"""What attackers and their victims send: any bytes for a head, a browser's cookies, handshakes."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from server.auth.websession import XSRF_COOKIE, cookie_name
from server.wire import HANDLED_PATH, SESSION_PATH, SYNC_PATH, TICKET_PATH
from tests.gateway.devices import Raw, masked, raw, upgrade
from tests.running import Running

PATIENCE_S: Final = 15.0
COOKIE: Final = cookie_name(secure=True)

Header = tuple[str, str | bytes]


def basic(user: str, password: str = "x") -> Header:
    """RFC 7617."""
    return "Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def ticket(value: str) -> Header:
    """One that lasts."""
    return "Authorization", f"SoTicket {value}"


def bearer(value: str | bytes) -> Header:
    """A token."""
    return "Authorization", b"Bearer " + (value if isinstance(value, bytes) else value.encode())


@dataclass(frozen=True)
class Reply:
    """One answer; a header may be there more than once."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """The values of a header."""
        return [value for key, value in self.headers if key == name]

    def problem(self) -> tuple[int, str]:
        """Status and `ErrorType`, of an answer in the vendor's shape that leaks nothing of us."""
        assert self.all("content-type") == ["application/json; charset=utf-8"], self
        shape = json.loads(self.body)
        assert list(shape) == ["Error", "ErrorType", "ErrorMessage", "ErrorSource"]
        assert (shape["Error"], shape["ErrorSource"]) == (True, "clearsync")
        assert not re.search("Traceback|redis|unix:|127.0.0.1|argon2", shape["ErrorMessage"])
        return self.status, shape["ErrorType"]

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


def head_of(running: Running, method: str, target: str | bytes, headers: Iterable[Header]) -> bytes:
    """The bytes of a head, whatever is in them; `Host` is the server's own unless it is given."""
    given = list(headers)
    if not any(name.lower() == "host" for name, _ in given):
        given.insert(0, ("Host", f"127.0.0.1:{running.port}"))
    path = target if isinstance(target, bytes) else target.encode()
    lines = [b"%b %b HTTP/1.1" % (method.encode(), path)]
    lines += [b"%b: %b" % (name.encode(), v if isinstance(v, bytes) else v.encode()) for name, v in given]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def send(running: Running, request: bytes) -> Reply:
    """The answer to these bytes, on a connection of their own."""
    with talking(running) as connection:
        connection.sendall(request)
        return answer(connection)


@contextmanager
def talking(running: Running) -> Iterator[socket.socket]:
    """A connection on which nothing was said yet."""
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE_S) as connection:
        yield connection


def answer(connection: socket.socket) -> Reply:
    """The next answer on a connection on which one request is under way."""
    with connection.makefile("rb") as lines:
        status = int(lines.readline().split()[1])
        headers = []
        while line := lines.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip()))
        length = next((int(value) for name, value in headers if name == "content-length"), 0)
        return Reply(status, tuple(headers), lines.read(length) if status not in (204, 304) else b"")


def call(running: Running, method: str, target: str | bytes, *headers: Header, body: bytes = b"") -> Reply:
    """One request; its length is told where it has a body."""
    told: tuple[Header, ...] = (("Content-Length", str(len(body))),) if body or method == "POST" else ()
    return send(running, head_of(running, method, target, (*headers, *told)) + body)


def report(
    running: Running, id_: int, *headers: Header, target: str | bytes = HANDLED_PATH, form: bool = False
) -> Reply:
    """Somebody says that a new ticket was handled; `form` as a page's form can say it."""
    if form:
        body, media = f"NotificationEvents[0].Type=NewTicket&NotificationEvents[0].Id={id_}".encode(), _FORM
    else:
        body, media = json.dumps({"NotificationEvents": [{"Type": "NewTicket", "Id": id_}]}).encode(), _JSON
    return call(running, "POST", target, ("Content-Type", media), *headers, body=body)


_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = "application/json"


def sync(running: Running, *headers: Header, target: str = f"{SYNC_PATH}?device=phone") -> Reply:
    """The one-shot read."""
    return call(running, "GET", target, *headers)


# browsers


@dataclass(frozen=True)
class Web:
    """A browser's session: what its two cookies say."""

    secret: str
    xsrf: str

    @property
    def cookie(self) -> Header:
        """What comes along with each request, also with those that another site causes."""
        return "Cookie", f"{XSRF_COOKIE}={self.xsrf}; {COOKIE}={self.secret}"

    @property
    def own(self) -> tuple[Header, Header]:
        """What a page of ours sends."""
        return self.cookie, ("X-XSRF-TOKEN", self.xsrf)


def cookies_of(reply: Reply) -> dict[str, str]:
    """What an answer sets."""
    return dict(line.partition(";")[0].split("=", 1) for line in reply.all("set-cookie"))


def sign_in(running: Running, *headers: Header) -> Web:
    """A browser that signed in."""
    reply = call(running, "POST", SESSION_PATH, *headers)
    assert reply.status == 200, reply
    cookies = cookies_of(reply)
    return Web(cookies[COOKIE], cookies[XSRF_COOKIE])


def sign_out(running: Running, *headers: Header) -> Reply:
    """The end of a session."""
    return call(running, "DELETE", SESSION_PATH, *headers)


def once(running: Running, device: str, *headers: Header) -> str:
    """A one-use ticket of a device."""
    reply = call(running, "POST", f"{TICKET_PATH}?device={device}", *headers)
    assert reply.status == 200, reply
    issued: str = reply.json()["ticket"]
    return issued


# websockets


def shake(running: Running, *headers: Header, target: str = f"{SYNC_PATH}?device=raw") -> bytes:
    """A handshake with these headers."""
    extra = [f"{name}: {value if isinstance(value, str) else value.decode('latin-1')}" for name, value in headers]
    return upgrade(running, target, *extra, user=None)


@asynccontextmanager
async def knocking(running: Running, *headers: Header, target: str = f"{SYNC_PATH}?device=raw") -> AsyncIterator[Raw]:
    """A device whose handshake was sent."""
    async with raw(running) as device:
        await device.send(shake(running, *headers, target=target))
        yield device


@asynccontextmanager
async def session(
    running: Running, *headers: Header, device: str = "raw", query: str = ""
) -> AsyncIterator[tuple[Raw, dict[str, Any]]]:
    """A device that was let in, and its welcome."""
    async with knocking(running, *headers, target=f"{SYNC_PATH}?device={device}{query}") as here:
        reply = await here.answer()
        assert reply.status == 101, reply
        yield here, await here.frame()


async def refused(running: Running, *headers: Header, target: str = f"{SYNC_PATH}?device=raw") -> tuple[int, str]:
    """Status and kind of the refusal of a handshake."""
    async with knocking(running, *headers, target=target) as device:
        return (await device.answer()).problem()


async def closed_at_once(running: Running, *headers: Header, target: str = f"{SYNC_PATH}?device=raw") -> int:
    """The close code of a browser, which is let in to be told: nothing comes before it."""
    async with knocking(running, *headers, target=target) as device:
        assert (await device.answer()).status == 101
        opcode, data = await device.message()
        assert opcode == 8, (opcode, data)
        return int.from_bytes(data[:2])


async def ask(device: Raw, **frame: Any) -> dict[str, Any]:
    """A frame, and the next that comes: its answer, on a device that is sent nothing else."""
    await device.send(masked(json.dumps(frame).encode()))
    return await device.frame()


async def alive(device: Raw) -> bool:
    """Whether a session is still there."""
    with contextlib.suppress(AssertionError, EOFError, OSError):
        return (await ask(device, type="ping")) == {"type": "pong"}
    return False

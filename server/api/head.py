"""What the headers of a request say: one scan, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

from server.auth.principal import Credentials
from server.auth.websession import cookie_of
from server.errors import BadRequest
from server.events import DeviceId, device_id


class Head(NamedTuple):
    """`xsrf`, `agent` and `origins` as they came; `encoding` is empty where the body is as it is; `length` is None
    where it is chunked."""

    credentials: Credentials
    xsrf: bytes | None
    agent: bytes | None
    origins: tuple[bytes, ...]
    content_type: bytes
    encoding: bytes
    device: DeviceId | None
    length: int | None


def read_head(headers: Iterable[tuple[bytes, bytes]], cookie: str) -> Head:
    """The head of a request whose header names are in lower case; `cookie` names the one of web sessions.

    `BadRequest` for a malformed device id, and for two answers to the question who is calling.
    """
    authorization = app_token = web_session = xsrf = agent = device = length = None
    origins: tuple[bytes, ...] = ()
    content_type = encoding = b""
    for name, value in headers:
        if name == b"authorization":
            if authorization is not None:
                raise BadRequest("Authorization is given twice")
            authorization = value
        elif name == b"content-type":
            content_type = value
        elif name == b"content-length":
            length = int(value)
        elif name == b"x-device-id":
            device = device_id(value.decode("latin-1"))
        elif name == b"x-agent-id":
            if agent is not None:
                raise BadRequest("X-Agent-Id is given twice")
            agent = value
        elif name == b"so-apptoken":
            if app_token is not None:
                raise BadRequest("SO-AppToken is given twice")
            app_token = value
        elif name == b"cookie":
            web_session = web_session or cookie_of(value, cookie)
        elif name == b"x-xsrf-token":
            xsrf = value
        elif name == b"origin":
            origins += (value,)
        elif name == b"content-encoding":
            encoding = b"%b, %b" % (encoding, value) if encoding else value
    credentials = Credentials(authorization, app_token, web_session)
    return Head(credentials, xsrf, agent, origins, content_type, encoding, device, length)


def agent_name(value: bytes) -> str:
    """The name in ``X-Agent-Id``: UTF-8, percent-encoded where it is not ASCII. `BadRequest` for anything else."""
    try:
        return unquote(value.decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("X-Agent-Id must be a name in UTF-8, percent-encoded") from None

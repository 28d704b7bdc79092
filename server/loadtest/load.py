"""What to ask of a server, within bounds."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from server.client import base_url
from server.errors import BadRequest
from server.events import MAX_EVENTS

MAX_SESSIONS: Final = 20_000
"""An address has some 28,000 ports for connections to one server."""
MAX_PUBLISHERS: Final = 1000
MAX_RATE: Final = 100_000.0
MAX_SECONDS: Final = 3600.0
MAX_DRAIN_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Login:
    """One agent, as he signs in: a name to tell him by, and the headers that say who he is."""

    name: str
    headers: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Load:
    """Each of `logins`, all different agents, has `devices` connected; `publishers` connections post, each time for
    one of them at random.

    `rate`: posts a second over all publishers, sent when they are due whatever the server does (open loop); 0 is the
    next as soon as the one before is answered (closed loop). `events`: of one post. `seconds`: how long is posted, and
    `drain_s` how long it is waited then for answers and clears. Raises `BadRequest` for what is malformed or out of
    bounds.
    """

    url: str
    logins: tuple[Login, ...]
    devices: int = 3
    publishers: int = 16
    rate: float = 0.0
    seconds: float = 10.0
    events: int = 1
    drain_s: float = 10.0

    def __post_init__(self) -> None:
        if not re.fullmatch("[!-~]+", base_url(self.url)):  # it is written into requests as it is
            raise BadRequest(f"url is {self.url!r}, it must be printable ASCII without spaces, encoded where need be")
        sessions = len(self.logins) * self.devices
        for what, value, least, most in (
            ("agents", len(self.logins), 1, MAX_SESSIONS),
            ("devices", self.devices, 1, MAX_SESSIONS),
            ("agents times devices", sessions, 1, MAX_SESSIONS),
            ("publishers", self.publishers, 1, MAX_PUBLISHERS),
            ("rate", self.rate, 0.0, MAX_RATE),
            ("seconds", self.seconds, 0.1, MAX_SECONDS),
            ("events", self.events, 1, MAX_EVENTS),
            ("drain", self.drain_s, 0.0, MAX_DRAIN_S),
        ):
            if not least <= value <= most:  # nan is refused by this, too
                raise BadRequest(f"{what} is {value:g}, it must be from {least:g} to {most:g}")
        name, times = Counter(login.name.casefold() for login in self.logins).most_common(1)[0]
        if times > 1:
            raise BadRequest(f"{name} is there {times} times, the clears of one would be taken for the other's")

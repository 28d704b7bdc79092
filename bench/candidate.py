"""What is measured: a server that takes POSTs and pushes what they say to the websockets of an agent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from bench.site import Site


@dataclass(frozen=True, slots=True)
class Target:
    """Where the generator sends, and what.

    Paths, heads, body and frames are templates: %a is the number of the agent, %d that of the device, %t a microsecond
    clock modulo 2^31, %B the Basic credentials of user `a<agent>`, %% a percent sign.
    """

    ws_port: int
    http_port: int
    ws_path: str
    http_path: str
    body: str
    """One event a POST. Of each frame that comes back the generator reads the time of sending behind every `key`."""
    ws_head: str = ""
    http_head: str = ""
    key: str = '"Id":'
    subprotocol: str = ""
    first_frames: tuple[str, ...] = ()
    """What a client sends once its websocket is open."""
    pids: Callable[[], list[int]] = list
    """The server's processes, now: their CPU and memory count. The store's is not among them."""
    store_pid: int | None = None


class Candidate(Protocol):
    """One server of the comparison."""

    @property
    def slug(self) -> str:
        """Its name in file names and options."""
        ...

    @property
    def name(self) -> str:
        """Its name in tables."""
        ...

    @property
    def records(self) -> str:
        """What it has kept before it answers a POST, in one line."""
        ...

    def absent(self) -> str:
        """Why it can't run here, with what would help; empty where it can."""
        ...

    def version(self) -> str:
        """What exactly is measured; only of one that is not absent."""
        ...

    def running(self, site: Site) -> AbstractContextManager[Target]:
        """The server on the site's server core and its store on the load's, ready for the load; gone at the end.

        Raises `SiteError` where it does not come up.
        """
        ...

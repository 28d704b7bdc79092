"""Somebody who writes to the store and says on an agent's channel what a test wants, in place of our own scripts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis import Redis

from server.auth.development import TENANT
from server.broker.keys import agent_key
from server.broker.script import Script
from server.events import AgentId, Batch, Event
from server.session import Announcement
from tests.gateway.devices import Pair
from tests.running import Running, client

_CAP: Final = 10_000
_RETENTION_MS: Final = 30 * 86_400_000
_NOWHERE: Final = b"nobody-listens-here"


class Announcer:
    """The channel of one agent of a development server. It must be the only one who records meanwhile."""

    def __init__(self, store: Redis, user: str) -> None:
        self._store = store
        self._key = agent_key("cs", AgentId.of(TENANT, user))
        self._record = store.register_script(Script("record.lua").source)

    def position(self) -> int:
        """Where the agent's state stands; 0 where there is none."""
        found = self._store.zrevrange(self._key, 0, 0, withscores=True)
        return int(found[0][1]) if found else 0

    def scripts(self) -> int:
        """How many the store has run, of all agents."""
        stats: dict[str, dict[str, int]] = self._store.info("commandstats")
        return stats["cmdstat_evalsha"]["calls"]

    def record(self, *pairs: Pair, origin: str = "-") -> Announcement:
        """Record a batch as our own script does; what it would have announced, which nobody has heard."""
        batch, prev = Batch([Event.parse(*pair) for pair in pairs]), self.position()
        now_us, deadline = int(time.time() * 1e6), 10**15
        said: list[bytes | str | int] = [_CAP, _RETENTION_MS, deadline, _NOWHERE, origin, now_us, batch.json]
        return Announcement(
            prev, int(self._record([self._key], [*said, *batch.members])), now_us, origin.encode(), batch.json
        )

    def say(self, message: Announcement | bytes) -> None:
        """Publish it, to the one worker that has devices of the agent."""
        text = message if isinstance(message, bytes) else b"%d %d %d %b %b" % message
        heard = self._store.execute_command("SPUBLISH", self._key, text)  # type: ignore[no-untyped-call]
        assert heard == 1, f"{heard} workers listen"


@contextmanager
def announcing(running: Running, user: str) -> Iterator[Announcer]:
    """Beside the embedded store's own workers."""
    with client(running.store_url()) as store:
        yield Announcer(store, user)

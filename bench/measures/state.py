"""Handled state put straight into the store, as `record.lua` would leave it: to post it would take minutes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from redis import Redis

from bench.generator import GeneratorError
from bench.measures.run import Scene
from server.broker.keys import agent_key
from server.events import AgentId, Event, EventType

PREFIX: Final = "cs"
TENANT: Final = "acme"
AGO_S: Final = 3600
AT_ONCE: Final = 500
DAYS_31_MS: Final = 31 * 86_400_000
FIRST_ID: Final = -(2**31)
"""Ids that no load makes."""


@dataclass(frozen=True, slots=True)
class Past:
    """Something happened to each agent an hour ago."""

    cursor: str
    """Of a device that has seen nothing of it."""
    store_mb: float
    """What the store has in memory with it."""


def _client(scene: Scene) -> Redis:
    folder = next(scene.site.folder.glob("store-*/s"), None)
    if folder is None:
        raise GeneratorError("the server has no store to be filled")
    return Redis(unix_socket_path=str(folder), socket_timeout=60)


def fill(scene: Scene, agents: Iterable[int], pairs: int) -> Past:
    """Let each of the agents, by number, have handled so many pairs, one a millisecond."""
    position = int((time.time() - AGO_S) * 1000)
    scores: dict[str | bytes, float] = {"-": position}
    for number in range(pairs):
        scores[Event(EventType.AppointmentCancelled, FIRST_ID + number).member] = position + 1 + number
    with _client(scene) as store:
        pipe = store.pipeline(transaction=False)
        for count, agent in enumerate(agents):
            key = agent_key(PREFIX, AgentId.of(TENANT, f"a{agent}"))
            pipe.zadd(key, scores)
            pipe.pexpire(key, DAYS_31_MS)
            if len(pipe) * pairs > AT_ONCE * 100 or count % AT_ONCE == 0:
                pipe.execute()
        pipe.execute()
        identity = store.get(f"{PREFIX}:store")
        used = store.info("memory")["used_memory"]
    assert isinstance(identity, bytes)
    return Past(f"{identity.decode()}-{position}", used / 1e6)

"""The port between the house and its store. `server.broker.redis` implements it; `server.app` chooses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from server.errors import Unavailable
from server.events import AgentId, Batch, DeviceId
from server.session import Announcement, Handled

Done = Callable[[int | Unavailable], None]


class Subscriber(Protocol):
    """One agent's channel as its owner here sees it."""

    agent: AgentId

    def confirmed(self) -> None:
        """Subscribed, at first or again: whatever was announced before may have been missed."""

    def missed(self) -> None:
        """Something may have been missed, under the same subscription."""

    def announced(self, messages: Sequence[Announcement]) -> None:
        """Batches were recorded, in this order; they came at once."""


class Control(Protocol):
    """Hears what is said to every worker and is no agent's: `revoked <name>`, `forgotten <agent tag>`."""

    def told(self, message: bytes) -> None:
        """A message, as it came: whoever can write to the store can say anything here."""

    def missed(self) -> None:
        """Subscribed, at first or again: something may have been missed."""


class NoControl:
    """A `Control` that nothing follows from, where no credentials are kept."""

    def told(self, message: bytes) -> None:
        """Nobody asked."""

    def missed(self) -> None:
        """Nothing that anybody would miss."""


class Broker(Protocol):
    """The way in and out of the store."""

    @property
    def store_id(self) -> str:
        """The id of the store's history; positions of another are void."""

    @property
    def usable(self) -> bool:
        """The store answers, and the listener is alive: devices can be kept in sync."""

    @property
    def ready(self) -> bool:
        """Usable, and the store takes writes."""

    def record(self, agent: AgentId, batch: Batch, origin: DeviceId | None) -> Awaitable[int]:
        """Record and announce a batch (not empty); the new position.

        Raises `Unavailable`: recorded whole or not at all, and safe to repeat.
        """

    def submit(self, agent: AgentId, batch: Batch, origin: DeviceId | None, done: Done) -> None:
        """`record` without a future: `done` gets its result, or the `Unavailable`, and never before this returns.
        Raises `Unavailable`: not recorded."""

    async def read(self, agent: AgentId, position: int | None, floor: int = -1) -> Handled:
        """What is handled after `position`, a page of it; None: nothing but the present position. Raises `Unavailable`.

        `floor`: of the reset that the reader has had already. It is not reset again for being below that.
        """

    async def check(self, agent: AgentId, members: Sequence[bytes]) -> list[tuple[bytes, int]]:
        """Those of `members` that are handled, with when (ms). Raises `Unavailable`."""

    async def latest(self, agents: Sequence[AgentId]) -> list[int | None]:
        """Each agent's present position, None where the store refuses to say. What is asked about does not expire.
        Raises `Unavailable`."""

    def subscribe(self, subscriber: Subscriber) -> None:
        """Listen to its agent's channel until `unsubscribe`, across reconnects."""

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Stop listening."""

    async def available(self) -> None:
        """Return once commands have a connection to go to."""

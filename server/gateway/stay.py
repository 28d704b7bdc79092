"""What a device's stay stands on, from the door to its end: credentials that hold, and one of its agent's places."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from server import logs
from server.auth.principal import Principal
from server.broker.leases import Lease
from server.errors import Unauthenticated
from server.gateway.door import Door
from server.gateway.entrance import Visitor, check_room, lease_of, principal_of
from server.session import Session
from server.wire import CloseCode

STUCK_S: Final = 60.0
"""A lagging session whose buffer has not shrunk for so long is dead."""
_log = logs.get("clearsync.gateway")


class Stay:
    """One device's; a `Holder` of what its principal stands on. `session` is None while it is still at the door, and
    `principal` before it is known who that is and once it has ended."""

    __slots__ = ("_door", "_expiry", "_lease", "_loop", "_opened", "_stuck_at", "_stuck_size", "principal", "session")

    def __init__(self, door: Door, loop: asyncio.AbstractEventLoop) -> None:
        self._door = door
        self._loop = loop
        self._lease: Lease | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._opened = 0.0
        self._stuck_size = self._stuck_at = -1.0
        self.principal: Principal | None = None
        self.session: Session | None = None

    async def enter(self, visitor: Visitor) -> Principal:
        """Who that is, and a place for one more of its devices. Raises a refusal, and then nothing is held."""
        try:
            check_room(self._door)  # before a ticket is used up
            principal = await principal_of(self._door, visitor)
            self._stand_on(principal)
            self._lease = await lease_of(self._door, principal)
            if self.principal is None:
                raise Unauthenticated("these credentials were revoked", self._door.authenticator.challenge)
            check_room(self._door)  # others came in meanwhile
        except BaseException:
            self.end()
            raise
        return principal

    def begin(self, session: Session, principal: Principal) -> None:
        """Let in: from here on the end of the credentials is the session's."""
        self.session = session
        self._opened = self._loop.time()
        self._expire(principal)

    def leave(self, address: str, code: int) -> None:
        """The connection from `address` is gone, and `code` is how it ended. One that was never let in ends as well.
        Idempotent."""
        session, principal = self.session, self.principal
        if session is not None and principal is not None:
            self._door.hub.leave(principal.agent, session, code)
            _log.info(
                "session ended",
                agent=str(principal.agent),
                device=session.device,
                address=address,
                transport=session.transport,
                code=code,
                seconds=round(self._loop.time() - self._opened, 1),
                sent=session.sent,
                lagged=session.lagged,
            )
        self.end()

    def renew(self, principal: Principal) -> None:
        """Other credentials of the same agent; nothing where it has ended meanwhile."""
        if self.session is not None and self.principal is not None:
            self._stand_on(principal)
            self._expire(principal)

    def end(self) -> None:
        """Give it all back. Idempotent."""
        if self._expiry is not None:
            self._expiry.cancel()
        if self._lease is not None:
            self._door.leases.release(self._lease)
        if self.principal is not None:
            self._door.holders.discard(self, self.principal)
        self._expiry = self._lease = self.principal = self.session = None

    def revoked(self) -> None:
        """See `Holder`. One that is still at the door is refused by `enter`."""
        if self.session is not None:
            self.session.close(CloseCode.CREDENTIALS_EXPIRED, "credentials were revoked")
        elif self.principal is not None:
            self._door.holders.discard(self, self.principal)
            self.principal = None

    def stuck(self, size: int, now: float) -> bool:
        """Asked about a lagging session at each look: `size` bytes wait for it. Whether it is dead."""
        dead = 0 <= self._stuck_size <= size and now - self._stuck_at >= STUCK_S
        if self._stuck_size < 0 or size < self._stuck_size:
            self._stuck_at = now
        self._stuck_size = size  # of the last look: answers under way may have made it grow in between
        return dead

    def shrunk(self) -> None:
        """It lags no more."""
        self._stuck_size = -1.0

    def _stand_on(self, principal: Principal) -> None:
        if self.principal is not None:
            self._door.holders.discard(self, self.principal)
        self.principal = principal
        self._door.holders.add(self, principal)

    def _expire(self, principal: Principal) -> None:
        """Be closed when the credentials expire; a session without end has no timer."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        assert self.session is not None
        self.session.expires_at = principal.expires_at
        if principal.expires_at is not None:
            self._expiry = self._loop.call_later(max(0.0, principal.expires_at - time.time()), self._expired)

    def _expired(self) -> None:
        if self.session is not None:
            self.session.close(CloseCode.CREDENTIALS_EXPIRED, "credentials have expired")

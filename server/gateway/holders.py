"""Which connections stand on which grants, so that the end of a grant is theirs."""

from __future__ import annotations

from typing import Protocol

from server import logs
from server.auth.principal import Principal

_log = logs.get("clearsync.gateway")


class Holder(Protocol):
    """A connection whose credentials can be taken back."""

    def revoked(self) -> None:
        """They are: end it."""


class Holders:
    """The connections of this worker by the grants their principals stand on; most principals stand on one or none."""

    def __init__(self) -> None:
        self._by_grant: dict[str, set[Holder]] = {}

    def add(self, holder: Holder, principal: Principal) -> None:
        """From here on `holder` ends with any grant of `principal`."""
        for grant in principal.grants:
            self._by_grant.setdefault(grant, set()).add(holder)

    def discard(self, holder: Holder, principal: Principal) -> None:
        """Idempotent."""
        for grant in principal.grants:
            holders = self._by_grant.get(grant)
            if holders is not None:
                holders.discard(holder)
                if not holders:
                    del self._by_grant[grant]

    def revoke(self, grants: frozenset[str]) -> None:
        """These have ended."""
        for grant in grants & self._by_grant.keys():
            for holder in list(self._by_grant.get(grant, ())):
                try:
                    holder.revoked()
                except Exception:  # of one; the others' credentials have ended as well
                    _log.exception("connection could not be ended")

    def grants(self) -> set[str]:
        """All that somebody stands on."""
        return set(self._by_grant)

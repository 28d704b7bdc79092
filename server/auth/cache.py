"""What is remembered of credentials that were judged: by their hashes, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from server.auth.principal import Principal

V = TypeVar("V")
_FORGOTTEN_AT_ONCE: Final = 8
"""For one that comes: all that came at once are over at once, and to forget them holds the loop."""


class Remembered(Generic[V]):
    """Values by digest, each for a time, at most `bound` of them: the oldest go first."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        # ordered, as taking the first out of a plain dict walks over all that were taken out before
        self.entries: OrderedDict[bytes, tuple[V, float]] = OrderedDict()

    def get(self, digest: bytes, now: float) -> V | None:
        """What is remembered, None where it is nothing, or not any more."""
        entry = self.entries.get(digest)
        return entry[0] if entry and now < entry[1] else None

    def put(self, digest: bytes, value: V, now: float, ttl_s: float) -> None:
        """Remember it from now on, and forget what is over, or too much."""
        self.drop(digest)
        self.entries[digest] = (value, now + ttl_s)
        for _ in range(_FORGOTTEN_AT_ONCE):
            oldest = next(iter(self.entries), None)
            if oldest is None or (len(self.entries) <= self.bound and self.entries[oldest][1] > now):
                break
            self.drop(oldest)

    def drop(self, digest: bytes) -> None:
        """Forget it; idempotent."""
        self.entries.pop(digest, None)


class Principals(Remembered[Principal]):
    """Principals, to be found by what they stand on as well."""

    def __init__(self, bound: int) -> None:
        super().__init__(bound)
        self._by_grant: dict[str, set[bytes]] = {}

    def put(self, digest: bytes, value: Principal, now: float, ttl_s: float) -> None:
        super().put(digest, value, now, ttl_s)
        if digest in self.entries:
            for grant in value.grants:
                self._by_grant.setdefault(grant, set()).add(digest)

    def drop(self, digest: bytes) -> None:
        entry = self.entries.pop(digest, None)
        for grant in entry[0].grants if entry else ():
            digests = self._by_grant.get(grant, set())  # what may not be kept goes before it is in the index
            digests.discard(digest)
            if not digests:
                self._by_grant.pop(grant, None)

    def revoke(self, grants: frozenset[str]) -> None:
        """Forget all that stands on these."""
        for grant in grants & self._by_grant.keys():
            for digest in list(self._by_grant.get(grant, ())):
                self.drop(digest)

    def grants(self) -> set[str]:
        """All that something remembered stands on."""
        return set(self._by_grant)

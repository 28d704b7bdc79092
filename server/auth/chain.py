"""All ways to sign in behind one `Authenticator`: a verifier by scheme, and one cache before them.

1. The cache knows a header by a keyed hash; the key is random and never leaves the process, so what it holds can't be
   turned into credentials, nor tried out elsewhere.
2. A verified header is good for `TTL_S`, at most until its principal expires: the longest that a revoked token can
   still be of use. The users file is read at the start, so a change of it is felt after the next one.
3. A refused header is refused again for `REFUSED_TTL_S` without a verification. The refused have a bound of their own:
   a guesser can push out guesses, never those who are signed in.
4. `Unavailable` is never remembered: it says nothing about the credentials.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from server.auth.basic import Basic
from server.auth.development import Development
from server.auth.principal import Principal
from server.errors import Unauthenticated
from server.settings import Settings

TTL_S: Final = 300.0
KNOWN: Final = 100_000
"""Headers verified and remembered; about 50 MB when full, each an agent of its own."""
REFUSED_TTL_S: Final = 10.0
REFUSED: Final = 10_000

V = TypeVar("V")


class Verifier(Protocol):
    """One scheme, such as Basic."""

    @property
    def challenge(self) -> str:
        """Its part of `WWW-Authenticate`."""
        ...

    async def verify(self, credentials: bytes) -> Principal:
        """The principal of credentials, the part after the scheme. Raises as `Authenticator.authenticate` does."""
        ...

    def close(self) -> None:
        """Gives back what it holds; idempotent."""
        ...


class _Remembered(Generic[V]):
    """What is known of headers by their hashes, at most `bound` of them: the oldest go first."""

    __slots__ = ("bound", "entries")

    def __init__(self, bound: int) -> None:
        self.bound = bound
        # ordered, as taking the first out of a plain dict walks over all that were taken out before
        self.entries: OrderedDict[bytes, tuple[V, float]] = OrderedDict()

    def get(self, digest: bytes, now: float) -> V | None:
        entry = self.entries.get(digest)
        return entry[0] if entry and now < entry[1] else None

    def put(self, digest: bytes, value: V, now: float, ttl_s: float) -> None:
        self.entries[digest] = (value, now + ttl_s)
        self.entries.move_to_end(digest)
        while self.entries and (len(self.entries) > self.bound or next(iter(self.entries.values()))[1] <= now):
            self.entries.popitem(last=False)


class Chain:
    """The `Authenticator` of a worker. `clock` is monotonic, `wall` Unix time, both in seconds."""

    def __init__(
        self,
        verifiers: Mapping[str, Verifier],
        *,
        known: int = KNOWN,
        refused: int = REFUSED,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`verifiers` by scheme in lower case, in the order of their challenges."""
        self._verifiers = verifiers
        self._challenge = ", ".join(dict.fromkeys(verifier.challenge for verifier in verifiers.values()))
        self._known: _Remembered[Principal] = _Remembered(known)
        self._refused: _Remembered[str] = _Remembered(refused)
        self._clock = clock
        self._wall = wall
        self._keyed = hashlib.blake2b(key=os.urandom(32), digest_size=16)

    def cached(self, authorization: bytes | None) -> Principal | None:
        """See `Authenticator.cached`. 0.6 µs measured, so it repeats `_digest` instead of calling it."""
        if authorization is None:
            return None
        keyed = self._keyed.copy()
        keyed.update(authorization)
        entry = self._known.entries.get(keyed.digest())
        return entry[0] if entry is not None and self._clock() < entry[1] else None

    async def authenticate(self, authorization: bytes | None) -> Principal:
        """See `Authenticator.authenticate`."""
        if authorization is None:
            raise Unauthenticated("credentials are missing", self._challenge)
        principal = self.cached(authorization)
        if principal is not None:
            return principal
        digest = self._digest(authorization)
        refused = self._refused.get(digest, self._clock())
        if refused is not None:
            raise Unauthenticated(refused, self._challenge)
        try:
            principal = await self._verified(authorization)
        except Unauthenticated as error:
            self._refused.put(digest, str(error), self._clock(), REFUSED_TTL_S)
            raise Unauthenticated(str(error), self._challenge) from None
        ttl_s = TTL_S if principal.expires_at is None else min(TTL_S, principal.expires_at - self._wall())
        if ttl_s > 0:
            self._known.put(digest, principal, self._clock(), ttl_s)
        return principal

    def close(self) -> None:
        """Closes the verifiers. The last thing asked of it."""
        for verifier in self._verifiers.values():
            verifier.close()

    def _digest(self, authorization: bytes) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(authorization)
        return keyed.digest()

    async def _verified(self, authorization: bytes) -> Principal:
        scheme, _, credentials = authorization.partition(b" ")
        verifier = self._verifiers.get(scheme.decode("latin-1").lower())
        if verifier is None:
            raise Unauthenticated("this scheme is not served, WWW-Authenticate names those that are")
        return await verifier.verify(credentials.strip(b" "))


def build(settings: Settings) -> Chain:
    """The authenticator that settings ask for. Reads the users file; raises `SettingsError`."""
    if settings.dev:
        return Chain({"basic": Development()})
    return Chain({"basic": Basic.of_file(Path(settings.auth.users_file))})

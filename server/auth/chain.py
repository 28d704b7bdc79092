"""All ways to sign in behind one `Authenticator`: verifiers by scheme, and one cache before them.

1. The cache knows credentials by a keyed hash; the key is random and never leaves the process, so what it holds can't
   be turned into credentials, nor tried out elsewhere.
2. Verified credentials are good for `TTL_S`, at most until their principal expires, and no longer than its grants
   stand: `revoke` takes them out. What is revoked without our being told (another issuer's token) is out by the TTL.
3. Refused credentials are refused again for `REFUSED_TTL_S` without a verification. The refused have a bound of their
   own: a guesser can push out guesses, never those who are signed in.
4. `Unavailable` is never remembered: it says nothing about the credentials.
5. A grant that ends while credentials on it are being verified ends that too: what was read before no longer counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Final, Generic, TypeVar

from server import logs
from server.auth.apptokens import AppTokens
from server.auth.attempts import Attempts
from server.auth.principal import Credentials, Principal
from server.auth.verifier import Verifier
from server.auth.websession import WebSessions
from server.errors import Refused, TooManyRequests, Unauthenticated
from server.metrics import Metrics

TTL_S: Final = 300.0
KNOWN: Final = 100_000
"""Credentials verified and remembered; about 50 MB when full, each an agent of its own."""
REFUSED_TTL_S: Final = 10.0
REFUSED: Final = 10_000
_REVOKED: Final = 10_000

V = TypeVar("V")
_log = logs.get("clearsync.auth")


class _Remembered(Generic[V]):
    """What is known of credentials by their hashes, at most `bound` of them: the oldest go first."""

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
        verifiers: Mapping[str, Sequence[Verifier]],
        *,
        web: WebSessions | None = None,
        app_tokens: AppTokens | None = None,
        attempts: Attempts | None = None,
        metrics: Metrics | None = None,
        known: int = KNOWN,
        refused: int = REFUSED,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`verifiers` by scheme in lower case, in the order of their challenges; of one scheme the first that claims
        the credentials judges them. `app_tokens`: one of these is required with SoTicket."""
        self._verifiers = verifiers
        self._all = list(dict.fromkeys(one for several in verifiers.values() for one in several))
        self._challenge = ", ".join(dict.fromkeys(verifier.challenge for verifier in self._all))
        self._web = web
        self._app_tokens = app_tokens
        self._attempts = attempts
        self._metrics = metrics or Metrics()
        self._known: _Remembered[Principal] = _Remembered(known)
        self._refused: _Remembered[str] = _Remembered(refused)
        self._revoked: OrderedDict[str, int] = OrderedDict()
        self._revocations = 0
        self._clock = clock
        self._wall = wall
        self._keyed = hashlib.blake2b(key=os.urandom(32), digest_size=16)

    def cached(self, credentials: Credentials) -> Principal | None:
        """See `Authenticator.cached`. The common path repeats `_digest` instead of calling it."""
        authorization, app_token, _ = credentials
        if authorization is None or app_token is not None:
            entry = self._known.entries.get(self._digest(credentials))
        else:
            keyed = self._keyed.copy()
            keyed.update(authorization)
            entry = self._known.entries.get(keyed.digest())
        return entry[0] if entry is not None and self._clock() < entry[1] else None

    async def authenticate(self, credentials: Credentials, address: str) -> Principal:
        """See `Authenticator.authenticate`."""
        principal = self.cached(credentials)
        if principal is not None:
            return principal
        scheme = self._scheme(credentials)
        if not scheme:
            raise Unauthenticated("credentials are missing", self._challenge)
        return await self._counted(scheme, address, lambda: self._judged(scheme, credentials))

    async def redeem(self, ticket: str, device: str, address: str) -> Principal:
        """See `Authenticator.redeem`."""
        web = self._web
        if web is None:
            raise Unauthenticated("tickets are not served", self._challenge)
        return await self._counted("once", address, lambda: self._standing(web.redeem(ticket.encode(), device)))

    def revoke(self, grants: frozenset[str]) -> None:
        """These stand no more: what was verified on them is forgotten."""
        self._revocations += 1
        for grant in grants:
            self._revoked[grant] = self._revocations
            self._revoked.move_to_end(grant)
        while len(self._revoked) > max(_REVOKED, len(grants)):
            self._revoked.popitem(last=False)
        entries = self._known.entries
        for digest in [d for d, (p, _) in entries.items() if not grants.isdisjoint(p.grants)]:
            del entries[digest]

    async def run(self) -> None:
        """What the verifiers have to do meanwhile, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for verifier in self._all:
                tasks.create_task(verifier.run())

    async def close(self) -> None:
        """Closes the verifiers. The last thing asked of it."""
        for verifier in self._all:
            await verifier.close()

    # the way of credentials that are not known

    async def _counted(self, scheme: str, address: str, judge: Callable[[], Awaitable[Principal]]) -> Principal:
        """One attempt to sign in: bounded, and told to metrics and log."""
        result = "unavailable"
        try:
            async with self._attempts.attempt(address) if self._attempts is not None else nullcontext():
                principal = await judge()
            result = "ok"
            return principal
        except TooManyRequests:
            result = "limited"
            self._metrics.limited_total["failed_logins",] += 1
            raise
        except Refused as error:
            result = "refused"
            _log.info("sign-in refused", scheme=scheme, address=address, reason=str(error))
            raise
        finally:
            self._metrics.sign_ins_total[scheme, result] += 1

    async def _standing(self, judging: Awaitable[Principal]) -> Principal:
        """Rule 5."""
        began = self._revocations
        principal = await judging
        if any(self._revoked.get(grant, 0) > began for grant in principal.grants):
            raise Unauthenticated("these credentials were revoked")
        return principal

    async def _judged(self, scheme: str, credentials: Credentials) -> Principal:
        digest = self._digest(credentials)
        refused = self._refused.get(digest, self._clock())
        if refused is not None:
            raise Unauthenticated(refused, self._challenge)
        try:
            principal = await self._standing(self._verified(scheme, credentials))
        except Unauthenticated as error:
            self._refused.put(digest, str(error), self._clock(), REFUSED_TTL_S)
            raise Unauthenticated(str(error), self._challenge) from None
        ttl_s = TTL_S if principal.expires_at is None else min(TTL_S, principal.expires_at - self._wall())
        if ttl_s > 0:
            self._known.put(digest, principal, self._clock(), ttl_s)
        return principal

    async def _verified(self, scheme: str, credentials: Credentials) -> Principal:
        if scheme == "web" and self._web is not None and credentials.web_session is not None:
            return await self._web.verify(credentials.web_session)
        said = (credentials.authorization or b"").partition(b" ")[2].strip(b" ")
        if scheme == "soticket" and self._app_tokens is not None and not self._app_tokens.knows(credentials.app_token):
            raise Unauthenticated("SO-AppToken is missing or not known, SoTicket needs it here")
        for verifier in self._verifiers.get(scheme, ()):
            if verifier.claims(said):
                return await verifier.verify(said, credentials.app_token)
        if scheme in self._verifiers:
            raise Unauthenticated("these are not credentials of their scheme, in a form that is known here")
        raise Unauthenticated("this scheme is not served, WWW-Authenticate names those that are")

    def _scheme(self, credentials: Credentials) -> str:
        """What the metrics call the way; empty where there are no credentials."""
        if credentials.authorization is None:
            return "web" if credentials.web_session is not None and self._web is not None else ""
        scheme = credentials.authorization.partition(b" ")[0].decode("latin-1").lower()
        return scheme if scheme in self._verifiers else "other"

    def _digest(self, credentials: Credentials) -> bytes:
        """No header holds a line feed, so no two credentials are the same bytes."""
        authorization, app_token, web_session = credentials
        keyed = self._keyed.copy()
        if authorization is None:
            keyed.update(b"\n%b" % (web_session or b""))
        elif app_token is None:
            keyed.update(authorization)
        else:
            keyed.update(b"\n".join((authorization, app_token)))
        return keyed.digest()

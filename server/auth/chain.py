"""All ways to sign in behind one `Authenticator`: verifiers by scheme, and one cache before them.

1. The cache knows credentials by a keyed hash; the key is random and never leaves the process, so what it holds can't
   be turned into credentials, nor tried out elsewhere.
2. Verified credentials are good for `TTL_S`, at most until their principal expires, and no longer than its grants
   stand: `revoke` takes them out. What is revoked without our being told (another issuer's token) is out by the TTL.
3. Refused credentials are refused again for `REFUSED_TTL_S` without a verification, or until the users have changed.
   The refused have a bound of their own: a guesser can push out guesses, never those who are signed in.
4. `Unavailable` is never remembered: it says nothing about the credentials.
5. A grant that ends while credentials on it are being verified ends that too: what was read before no longer counts.
6. Credentials are known by what they say, not by how it is spelt: else each way to spell them would be a verification.
7. What counts as a failed sign-in is what can be guessed, or what the CRM is asked about. 256 random bits and
   signatures can't be guessed: a page that goes on with a session that has ended must not lock its office out. Nor must
   a program that repeats a wrong password: the address pays for the first, repeats are counted by themselves. What was
   good within a day is no guess: whoever was signed in stays so beside a guesser at his address.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Final, NamedTuple

from server import logs
from server.auth.address import network_of
from server.auth.apptokens import AppTokens
from server.auth.attempts import Attempts
from server.auth.cache import Principals, Remembered
from server.auth.principal import Credentials, Principal
from server.auth.verifier import Verifier
from server.auth.websession import WebSessions
from server.errors import Refused, TooManyRequests, Unauthenticated
from server.limits import Rate
from server.metrics import Metrics

TTL_S: Final = 300.0
USER_TTL_S: Final = 86_400.0
"""Of what stands on the users file alone: this process reads it, and so knows the end of an entry itself."""
KNOWN: Final = 100_000
"""Credentials verified and remembered; about 50 MB when full, each an agent of its own."""
REFUSED_TTL_S: Final = 60.0
REFUSED: Final = 10_000
LINES_PER_S: Final = 1.0
LINES_BURST: Final = 60
"""Lines in the log about refusals of one address."""
_REVOKED: Final = 10_000
_SPELT: Final = {"basic": b"Basic", "soticket": b"SOTicket", "bearer": b"Bearer"}
"""As most callers spell their scheme: that way the hot path finds them at once."""


class _Refusal(NamedTuple):
    """`charged`: the first of them was a failed sign-in of its address."""

    reason: str
    charged: bool


_log = logs.get("clearsync.auth")


class Chain:
    """The `Authenticator` of a worker. `clock` is monotonic, `wall` Unix time, both in seconds."""

    def __init__(
        self,
        verifiers: Mapping[str, Sequence[Verifier]],
        *,
        web: WebSessions | None = None,
        app_tokens: AppTokens | None = None,
        forwarded: Collection[str] = (),
        attempts: Attempts | None = None,
        metrics: Metrics | None = None,
        known: int = KNOWN,
        refused: int = REFUSED,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`verifiers` by scheme in lower case, in the order of their challenges; of one scheme the first that claims
        the credentials judges them. `app_tokens`: one of these is required with SoTicket. `forwarded`: the schemes
        whose verifiers read the application token."""
        self._verifiers = verifiers
        self._all = list(dict.fromkeys(one for several in verifiers.values() for one in several))
        self.challenge = ", ".join(dict.fromkeys(verifier.challenge for verifier in self._all))
        self._web = web
        self._app_tokens = app_tokens
        self._app_token_schemes = {*forwarded, "soticket"} if app_tokens is not None else {*forwarded}
        self._attempts = attempts
        self._metrics = metrics or Metrics()
        self._known = Principals(known)
        self._refused: Remembered[_Refusal] = Remembered(refused)
        self._good: Remembered[bool] = Remembered(known)
        self._lines = Rate(LINES_PER_S, LINES_BURST)
        self._revoked: OrderedDict[str, int] = OrderedDict()
        self._revocations = 0
        self._clock = clock
        self._wall = wall
        self._keyed = hashlib.blake2b(key=os.urandom(32), digest_size=16)

    def key(self, credentials: Credentials) -> bytes:
        """See `Authenticator.key`. The common path takes what came as it is, which is how `_digest` spells it."""
        authorization, app_token, _ = credentials
        if authorization is None or app_token is not None:
            return self._digest(credentials)
        keyed = self._keyed.copy()
        keyed.update(authorization)
        return keyed.digest()

    def known(self, key: bytes) -> Principal | None:
        """See `Authenticator.known`."""
        entry = self._known.entries.get(key)
        return entry[0] if entry is not None and self._clock() < entry[1] else None

    async def authenticate(self, credentials: Credentials, address: str) -> Principal:
        """See `Authenticator.authenticate`."""
        scheme = self._scheme(credentials)
        if not scheme:
            raise Unauthenticated("credentials are missing", self.challenge)
        digest, now = self._digest(credentials), self._clock()
        principal = self._known.get(digest, now)
        if principal is not None:
            return principal
        return await self._counted(scheme, self._judged(scheme, credentials, digest, address))

    async def redeem(self, ticket: str, device: str, address: str) -> Principal:
        """See `Authenticator.redeem`."""
        if self._web is None:
            raise Unauthenticated("tickets are not served", self.challenge)
        return await self._counted("once", self._once(ticket, device, address))

    def revoke(self, grants: frozenset[str]) -> None:
        """These stand no more: what was verified on them is forgotten."""
        self._revocations += 1
        for grant in grants:
            self._revoked[grant] = self._revocations
            self._revoked.move_to_end(grant)
        while len(self._revoked) > max(_REVOKED, len(grants)):
            self._revoked.popitem(last=False)
        self._known.revoke(grants)

    def users_changed(self) -> None:
        """Who was refused may be a user now."""
        self._refused.entries.clear()

    def grants(self) -> set[str]:
        """What the remembered stand on; for the comparison with the store."""
        return self._known.grants()

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

    async def _counted(self, scheme: str, judging: Awaitable[Principal]) -> Principal:
        """One attempt to sign in, as the metrics are told of it."""
        result = "unavailable"
        try:
            principal = await judging
            result = "ok"
            return principal
        except TooManyRequests:
            result = "limited"
            self._metrics.limited_total["failed_logins",] += 1
            raise
        except Refused:
            result = "refused"
            raise
        finally:
            self._metrics.sign_ins_total[scheme, result] += 1

    async def _once(self, ticket: str, device: str, address: str) -> Principal:
        assert self._web is not None
        try:
            return await self._standing(self._web.redeem(ticket.encode(), device))
        except Unauthenticated as error:
            self._say("once", address, error)
            raise Unauthenticated(str(error), self.challenge) from None
        except Refused as error:
            self._say("once", address, error)
            raise

    def _say(self, scheme: str, address: str, error: Refused) -> None:
        """For who looks after the service, and has to see who knocks; bounded, as anybody can knock."""
        if not self._lines.take(network_of(address), self._clock()):
            _log.info("sign-in refused", scheme=scheme, address=address, reason=str(error))

    async def _standing(self, judging: Awaitable[Principal]) -> Principal:
        """Rule 5."""
        began = self._revocations
        principal = await judging
        if any(self._revoked.get(grant, 0) > began for grant in principal.grants):
            raise Unauthenticated("these credentials were revoked")
        return principal

    async def _judged(self, scheme: str, credentials: Credentials, digest: bytes, address: str) -> Principal:
        refused = self._refused.get(digest, self._clock())
        if refused is not None:
            if refused.charged and self._attempts is not None:
                self._attempts.repeat(address, digest)
            raise Unauthenticated(refused.reason, self.challenge)
        try:
            verify, charged = self._way(scheme, credentials)
        except Unauthenticated as error:
            self._say(scheme, address, error)
            raise
        guess = charged and self._good.get(digest, self._clock()) is None
        async with self._attempts.attempt(address) if self._attempts is not None and guess else nullcontext():
            try:
                principal = await self._standing(verify())
            except Unauthenticated as error:
                self._say(scheme, address, error)
                self._good.drop(digest)
                self._refused.put(digest, _Refusal(str(error), charged), self._clock(), REFUSED_TTL_S)
                raise Unauthenticated(str(error), self.challenge) from None
        local = principal.grants and all(grant.startswith("user:") for grant in principal.grants)
        ttl_s = USER_TTL_S if local else TTL_S
        if principal.expires_at is not None:
            ttl_s = min(ttl_s, principal.expires_at - self._wall())
        if ttl_s > 0:
            if charged:
                self._good.put(digest, True, self._clock(), USER_TTL_S)
            self._known.put(digest, principal, self._clock(), ttl_s)
        return principal

    def _way(self, scheme: str, credentials: Credentials) -> tuple[Callable[[], Awaitable[Principal]], bool]:
        """How such credentials are verified, and whether a failure is charged. `Unauthenticated` where none are."""
        cookie, app_token = credentials.web_session, credentials.app_token
        if scheme == "web" and self._web is not None and cookie is not None:
            return partial(self._web.verify, cookie), False
        said = _parts(credentials.authorization or b"")[1]
        if scheme == "soticket" and self._app_tokens is not None and not self._app_tokens.knows(app_token):
            raise Unauthenticated("SO-AppToken is missing or not known, SoTicket needs it here", self.challenge)
        for verifier in self._verifiers.get(scheme, ()):
            if verifier.claims(said):
                return partial(verifier.verify, said, app_token), verifier.charged
        if scheme in self._verifiers:
            told = "these are not credentials of their scheme, in a form that is known here"
        else:
            told = "this scheme is not served, WWW-Authenticate names those that are"
        raise Unauthenticated(told, self.challenge)

    def _scheme(self, credentials: Credentials) -> str:
        """What the metrics call the way; empty where there are no credentials."""
        if credentials.authorization is None:
            return "web" if credentials.web_session is not None and self._web is not None else ""
        scheme = _parts(credentials.authorization)[0]
        return scheme if scheme in self._verifiers else "other"

    def _digest(self, credentials: Credentials) -> bytes:
        """Rule 6. No header holds a line feed, so no two credentials are the same bytes."""
        authorization, app_token, web_session = credentials
        keyed = self._keyed.copy()
        if authorization is None:
            keyed.update(b"\n%b" % (web_session or b""))
            return keyed.digest()
        scheme, said = _parts(authorization)
        keyed.update(b"%b %b" % (_SPELT.get(scheme, scheme.encode()), said))
        if app_token is not None and scheme in self._app_token_schemes:
            keyed.update(b"\n%b" % app_token)
        return keyed.digest()


def _parts(authorization: bytes) -> tuple[str, bytes]:
    """Scheme, in lower case, and credentials of an `Authorization`."""
    scheme, _, credentials = authorization.strip(b" \t").partition(b" ")
    return scheme.decode("latin-1").lower(), credentials.strip(b" \t")

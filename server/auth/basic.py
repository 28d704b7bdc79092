"""Basic authentication (RFC 7617) against a file of users with argon2 hashes.

1. An unknown user costs an argon2 run as a known one does, and gets the same answer. Where users' hashes have several
   parameters, a name that is unknown has some of them, by lot and in proportion (`StandIns`).
2. argon2 takes tens of milliseconds and 64 MiB: two threads do it, whatever is asked. A thread can't be cancelled, so
   it is the threads that bound the memory and not the requests that wait for them.
3. Whoever asks with the same credentials while they are being verified shares that run. Over `WAITING` runs that are
   not done, a new one is refused.
4. A run counts only if the user's entry at its end is the one at its beginning: a user who is removed meanwhile, or has
   another password by then, is refused.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import math
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NoReturn

import argon2
from argon2.exceptions import VerificationError, VerifyMismatchError

from server.auth.principal import Principal
from server.auth.users import User, folded
from server.auth.usersfile import UsersFile
from server.errors import Unauthenticated, Unavailable

THREADS: Final = 2
LONGEST_NAME: Final = 256
LONGEST_PASSWORD: Final = 1024
"""Characters; composing a text takes a time that grows with the square of its length."""
WAITING: Final = 200
"""Runs that may be under way or queued: at 0.1 s a run, as measured on two cores, the last waits for ten seconds."""

_HASHER: Final = argon2.PasswordHasher()


def hash_password(password: str) -> str:
    """The hash that a users file holds; 64 MiB and some tens of milliseconds. `ValueError` for one too long to be
    taken."""
    if len(password) > LONGEST_PASSWORD:
        raise ValueError(f"the password has {len(password)} characters, limit is {LONGEST_PASSWORD}")
    return _HASHER.hash(_normal(password))


def parse(credentials: bytes) -> tuple[str, str]:
    """User name and password of Basic credentials, the part after the scheme. A password may have colons.

    Raises `Unauthenticated`: only canonical base64 is taken, and the text is UTF-8, as our challenge says.
    """
    try:
        decoded = binascii.a2b_base64(credentials)
        if binascii.b2a_base64(decoded, newline=False) != credentials:  # Python's own strict mode lets "YTpi=" pass
            raise ValueError
        user, colon, password = decoded.decode().partition(":")
    except ValueError:
        raise Unauthenticated("Basic credentials must be the base64 of user:password in UTF-8") from None
    if not colon:
        raise Unauthenticated("Basic credentials must be the base64 of user:password, they have no colon")
    if len(user) > LONGEST_NAME or len(password) > LONGEST_PASSWORD:  # to compose them takes time, see `_normal`
        raise Unauthenticated("user name or password is wrong")
    return user, _normal(password)


class Basic:
    """Verifies Basic credentials against users, whose names are compared without case. Belongs to one event loop."""

    challenge: Final = 'Basic realm="clearsync", charset="UTF-8"'
    charged: Final = True

    def __init__(self, users: UsersFile, *, waiting: int = WAITING) -> None:
        self._file = users
        self._waiting = waiting
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._running: dict[tuple[str, bytes], asyncio.Future[bool]] = {}
        self._users: Mapping[str, User] = {}
        self._stand_ins = StandIns(())

    def claims(self, credentials: bytes) -> bool:
        """All that is Basic."""
        return True

    async def verify(self, credentials: bytes, app_token: bytes | None) -> Principal:
        """The user's principal. Raises `Unauthenticated`, or `Unavailable` where no run can be had now."""
        name, password = parse(credentials)
        name = folded(name)
        user = self._file.users.get(name)
        hash_ = user.hash if user else self._stand_in(name)
        # by hash as well: a run on the password that was says nothing of the one that is
        run = self._running.get((hash_, credentials)) or self._start(hash_, credentials, password)
        # shielded: the one who gives up must not cancel what others wait for
        if await asyncio.shield(run) and user and self._file.stands(user.grant):
            return user.principal
        raise Unauthenticated("user name or password is wrong")

    async def run(self) -> NoReturn:
        """Keep up with the users file, until cancelled."""
        await self._file.run()

    async def close(self) -> None:
        """Ends the threads, without waiting for a run under way; idempotent. No `verify` may follow."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _stand_in(self, name: str) -> str:
        users = self._file.users
        if users is not self._users:
            self._users, self._stand_ins = users, StandIns(user.hash for user in users.values())
        return self._stand_ins.of(name)

    def _start(self, hash_: str, credentials: bytes, password: str) -> asyncio.Future[bool]:
        if len(self._running) >= self._waiting:
            raise Unavailable("too many are waiting to sign in, try again", retry_after_s=5)
        run = asyncio.get_running_loop().run_in_executor(self._threads, matches, hash_, password)
        self._running[hash_, credentials] = run
        run.add_done_callback(lambda done: self._ended(hash_, credentials, done))
        return run

    def _ended(self, hash_: str, credentials: bytes, run: asyncio.Future[bool]) -> None:
        del self._running[hash_, credentials]
        if not run.cancelled():
            run.exception()  # taken note of, even where nobody waits any more


def matches(hash_: str, password: str) -> bool:
    """Whether a password is a hash's: one run of argon2. Raises `Unavailable` where the run itself fails."""
    try:
        return _HASHER.verify(hash_, password)
    except VerifyMismatchError:
        return False
    except VerificationError:  # no memory or no thread: says nothing about the password
        raise Unavailable("sign-in can't be checked now, try again", retry_after_s=5) from None


def _normal(password: str) -> str:
    # RFC 7617, 2.1 and RFC 8265: NFC. One system's ü is two characters on another, and both are the same key.
    return unicodedata.normalize("NFC", password)


class StandIns:
    """Hashes of no password, against which the unknown are verified: one for each cost that users have.

    A name's cost is drawn by weighted rendezvous hashing. So it is the same at every attempt and in every worker, a
    reload moves few names if any, and among the unknown each cost is as frequent as among the users: what a name costs
    does not say whether it is one. The keys of the lot are made of hashes in the file, which nobody else knows.
    """

    def __init__(self, hashes: Iterable[str]) -> None:
        by_cost: defaultdict[tuple[str, int, int], list[str]] = defaultdict(list)
        for hash_ in hashes:
            head, salt, digest = hash_.rsplit("$", 2)
            by_cost[head, len(salt), len(digest)].append(hash_)
        self._lots = [
            (hashlib.sha256(min(same).encode()).digest(), len(same), _unmatched(same[0])) for same in by_cost.values()
        ]

    def of(self, name: str) -> str:
        """The stand-in of a folded name; microseconds for a few costs."""
        if len(self._lots) == 1:
            return self._lots[0][2]
        return min(self._lots, key=lambda lot: _drawn(lot[0], name) / lot[1])[2]


def _drawn(key: bytes, name: str) -> float:
    """By lot, exponentially distributed; the least of several, each divided by a weight, is each in its proportion."""
    uniform = int.from_bytes(hashlib.blake2b(name.encode(), key=key, digest_size=8).digest(), "big") + 1
    return -math.log(uniform / 2**64)


def _unmatched(sample: str) -> str:
    """A hash of no password, with the parameters and lengths of another."""
    head, *parts = sample.rsplit("$", 2)
    random = (
        binascii.b2a_base64(os.urandom(len(part) * 3 // 4), newline=False).rstrip(b"=").decode() for part in parts
    )
    return "$".join((head, *random))

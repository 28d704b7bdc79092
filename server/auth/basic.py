"""Basic authentication (RFC 7617) against a file of users with argon2 hashes.

1. An unknown user costs the same argon2 run as a known one, and gets the same answer.
2. argon2 takes tens of milliseconds and 64 MiB: two threads do it, whatever is asked. A thread can't be cancelled, so
   it is the threads that bound the memory and not the requests that wait for them.
3. Whoever asks with the same credentials while they are being verified shares that run. Over `WAITING` runs that are
   not done, a new one is refused.
"""

from __future__ import annotations

import asyncio
import binascii
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

import argon2
from argon2.exceptions import VerificationError, VerifyMismatchError

from server.auth.principal import Principal
from server.auth.users import User, folded, read_users
from server.errors import Unauthenticated, Unavailable

THREADS: Final = 2
WAITING: Final = 200
"""Runs that may be under way or queued: at 0.1 s a run, as measured on two cores, the last waits for ten seconds."""

_HASHER: Final = argon2.PasswordHasher()


def hash_password(password: str) -> str:
    """The hash that a users file holds; 64 MiB and some tens of milliseconds. Raises nothing on a text of UTF-8."""
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
    return user, _normal(password)


class Basic:
    """Verifies Basic credentials against users, whose names are compared without case. Belongs to one event loop."""

    challenge: Final = 'Basic realm="clearsync", charset="UTF-8"'

    def __init__(self, users: Mapping[str, User], *, waiting: int = WAITING) -> None:
        self._users = users
        self._waiting = waiting
        self._unknown = _unmatched([user.hash for user in users.values()])
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._running: dict[bytes, asyncio.Future[bool]] = {}

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """The users of a file, see `users.read_users`. Raises `SettingsError`."""
        return cls(read_users(path))

    async def verify(self, credentials: bytes) -> Principal:
        """The user's principal. Raises `Unauthenticated`, or `Unavailable` where no run can be had now."""
        name, password = parse(credentials)
        user = self._users.get(folded(name))
        run = self._running.get(credentials) or self._start(credentials, user.hash if user else self._unknown, password)
        # shielded: the one who gives up must not cancel what others wait for
        if await asyncio.shield(run) and user:
            return user.principal
        raise Unauthenticated("user name or password is wrong")

    def close(self) -> None:
        """Ends the threads, without waiting for a run under way. No `verify` may follow."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self, credentials: bytes, hash_: str, password: str) -> asyncio.Future[bool]:
        if len(self._running) >= self._waiting:
            raise Unavailable("too many are waiting to sign in, try again", retry_after_s=5)
        run = asyncio.get_running_loop().run_in_executor(self._threads, matches, hash_, password)
        self._running[credentials] = run
        run.add_done_callback(lambda done: self._ended(credentials, done))
        return run

    def _ended(self, credentials: bytes, run: asyncio.Future[bool]) -> None:
        del self._running[credentials]
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


def _unmatched(hashes: list[str]) -> str:
    """A hash of no password, with the parameters that most of the users have."""
    parameters = Counter(hash_.rsplit("$", 2)[0] for hash_ in hashes)
    head = parameters.most_common(1)[0][0]
    sample = next(hash_ for hash_ in hashes if hash_.rsplit("$", 2)[0] == head)
    random = (
        binascii.b2a_base64(os.urandom(len(part) * 3 // 4), newline=False).rstrip(b"=").decode()
        for part in sample.rsplit("$", 2)[1:]
    )
    return "$".join((head, *random))

"""The application tokens (`SO-AppToken`) that count, known by their hashes only."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable


class AppTokens:
    """An allow-list. `hashes`: SHA-256 in hex, lower case, as `auth.app_tokens` keeps them."""

    def __init__(self, hashes: Iterable[str]) -> None:
        self._digests = tuple(bytes.fromhex(hash_) for hash_ in hashes)

    def knows(self, token: bytes | None) -> bool:
        """Whether a token is on the list; no token never is. Takes as long for one that is as for one that is not."""
        if not token:
            return False
        digest = hashlib.sha256(token).digest()
        found = False
        for known in self._digests:  # each of them, and no way out before the end: the time must not tell which it was
            found |= hmac.compare_digest(known, digest)
        return found

"""The schemes whose credentials the CRM judges, each a `Verifier` on the one `Judge`."""

from __future__ import annotations

import re
from typing import Final

from server.auth.judge import SCHEMES, Judge
from server.auth.principal import Principal
from server.errors import Unauthenticated

CREDENTIALS_BYTES: Final = 8 * 1024

_FORM: Final = re.compile(rb"[!-~](?:[ -~]{0,%d}[!-~])?" % (CREDENTIALS_BYTES - 2))
"""What goes into a header as it is, and can't end it."""


class Upstream:
    """The `Verifier` of one scheme; closing one closes the `Judge`, and so all of its schemes."""

    charged: Final = True

    def __init__(self, judge: Judge, scheme: str) -> None:
        self.challenge: Final = SCHEMES[scheme][1]
        self._judge = judge
        self._scheme = scheme

    def claims(self, credentials: bytes) -> bool:
        """See `Verifier.claims`: whatever can be sent, its form is the CRM's own."""
        return sendable(credentials)

    async def verify(self, credentials: bytes, app_token: bytes | None) -> Principal:
        """See `Verifier.verify`."""
        if not sendable(credentials):
            raise Unauthenticated("credentials must be printable ASCII, at most 8 KiB", self.challenge)
        if app_token and not sendable(app_token):
            raise Unauthenticated("SO-AppToken must be printable ASCII, at most 8 KiB", self.challenge)
        return await self._judge.ask(self._scheme, credentials, app_token or None)

    async def run(self) -> None:
        """Returns at once."""

    async def close(self) -> None:
        """See `Judge.close`."""
        await self._judge.close()


def sendable(value: bytes) -> bool:
    """Whether a value can go into a header as it is: printable ASCII, no space at either end, 1 byte to 8 KiB."""
    return _FORM.fullmatch(value) is not None

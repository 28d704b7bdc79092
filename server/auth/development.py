"""`--dev`: whoever names himself is that agent. Settings allow it on a loopback host only."""

from __future__ import annotations

from typing import Final

from server.auth.basic import Basic, parse
from server.auth.principal import Principal, Scope
from server.errors import Unauthenticated
from server.events import AgentId

TENANT: Final = "dev"
_ALL: Final = frozenset(Scope)


class Development:
    """Takes any Basic user name with any password that is not empty, as an agent of tenant `dev` with all scopes."""

    challenge: Final = Basic.challenge
    charged: Final = False

    def claims(self, credentials: bytes) -> bool:
        """All that is Basic."""
        return True

    async def verify(self, credentials: bytes, app_token: bytes | None) -> Principal:
        """Raises `BadRequest` for a name that can't be an agent's, `Unauthenticated` without a password."""
        name, password = parse(credentials)
        if not password:
            raise Unauthenticated("password is empty, in development any other will do")
        return Principal(AgentId.of(TENANT, name), _ALL)

    async def run(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to end."""

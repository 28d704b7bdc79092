"""What a verified caller may do: the checks that the HTTP edge and the gateway share."""

from __future__ import annotations

from collections.abc import Callable

from server.auth.principal import Authenticator, Credentials, Principal, Scope
from server.errors import BadRequest, Forbidden
from server.events import AgentId


async def identify(
    authenticator: Authenticator,
    credentials: Credentials,
    address: Callable[[], str],
) -> Principal:
    """Who calls. `address` is asked only where credentials have to be verified. Raises as `authenticate` does."""
    principal = authenticator.known(authenticator.key(credentials))
    if principal is None:
        principal = await authenticator.authenticate(credentials, address())
    return principal


def authorize(principal: Principal, scope: Scope | None, tenant: str | None) -> None:
    """`Forbidden` without `scope` (None asks for none), or where the path names another tenant than the caller's."""
    if scope is not None and scope not in principal.scopes:
        raise Forbidden(f"these credentials lack the scope {scope}")
    if tenant is not None and tenant != principal.agent.tenant:
        try:
            own = AgentId.of(tenant, "x").tenant == principal.agent.tenant
        except BadRequest:
            own = False
        if not own:
            raise Forbidden("the tenant in the path is not the caller's")

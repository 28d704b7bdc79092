"""What a verified caller may do: the checks that the HTTP edge and the gateway share."""

from __future__ import annotations

from server.auth.principal import Authenticator, Principal, Scope
from server.errors import BadRequest, Forbidden
from server.events import AgentId


async def identify(
    authenticator: Authenticator, authorization: bytes | None, scope: Scope, tenant: str | None
) -> Principal:
    """Who calls, and that it may. Raises as `Authenticator.authenticate` and `authorize` do."""
    principal = authenticator.cached(authorization)
    if principal is None:
        principal = await authenticator.authenticate(authorization)
    authorize(principal, scope, tenant)
    return principal


def authorize(principal: Principal, scope: Scope, tenant: str | None) -> None:
    """`Forbidden` without `scope`, or where the path names another tenant than the caller's own."""
    if scope not in principal.scopes:
        raise Forbidden(f"these credentials lack the scope {scope}")
    if tenant is not None:
        try:
            own = AgentId.of(tenant, "x").tenant == principal.agent.tenant
        except BadRequest:
            own = False
        if not own:
            raise Forbidden("the tenant in the path is not the caller's")

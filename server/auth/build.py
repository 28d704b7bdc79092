"""From settings to everything that knows callers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from server.auth.apptokens import AppTokens
from server.auth.attempts import Attempts
from server.auth.basic import Basic
from server.auth.bearer import Bearer
from server.auth.chain import Chain
from server.auth.development import Development
from server.auth.judge import Judge
from server.auth.quota import Quota
from server.auth.revocation import standing
from server.auth.tickets import Tickets
from server.auth.upstream import Upstream
from server.auth.usersfile import UsersFile
from server.auth.vault import Vault
from server.auth.verifier import Verifier
from server.auth.websession import WebSessions, cookie_name
from server.metrics import Metrics
from server.settings import Settings
from server.settings.schema import Limits

NO_LIMITS = Limits(
    requests_per_agent_s=0,
    requests_per_address_s=0,
    sessions_per_agent=0,
    web_sessions_per_agent_minute=0,
    failed_logins_per_minute=0,
)
"""In development nobody is kept out."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """What a worker knows callers by. `chain` has work to do meanwhile, and is to be closed; `cookie` names the one of
    web sessions; `reload` reads the users file again, where there is one."""

    chain: Chain
    web: WebSessions
    quota: Quota
    limits: Limits
    cookie: str
    reload: Callable[[], None]


def build(
    settings: Settings, vault: Vault, metrics: Metrics, on_revoked: Callable[[frozenset[str]], None]
) -> Authentication:
    """Reads the files that settings name; `SettingsError` where they can't be used. Wants a running loop.

    `on_revoked` is told the grants that end here: of users whose entry in the file has gone or changed, of sign-outs.
    """
    limits = NO_LIMITS if settings.dev else settings.limits
    verifiers: dict[str, list[Verifier]] = {}
    users: UsersFile | None = None
    if settings.dev:
        verifiers["basic"] = [Development()]
    elif settings.auth.users_file:
        users = UsersFile(Path(settings.auth.users_file), on_revoked, lambda: chain.users_changed())
        verifiers["basic"] = [Basic(users)]
    if settings.auth.tickets or settings.dev:
        verifiers["soticket"] = [Tickets(vault)]
    if settings.jwt.keys_file or settings.jwt.jwks_url:
        verifiers["bearer"] = [Bearer.of(settings.jwt)]
    if settings.upstream.url:
        judge = Judge(settings.upstream)
        for scheme in settings.upstream.schemes:
            verifiers.setdefault(scheme, []).append(Upstream(judge, scheme))
    stands = users.stands if users is not None else _nobody
    web = WebSessions(
        vault, lambda grants: standing(vault, stands, grants), on_revoked, longest_s=settings.auth.web_session_s
    )
    chain = Chain(
        verifiers,
        web=web,
        app_tokens=AppTokens(settings.auth.app_tokens) if settings.auth.app_tokens else None,
        forwarded=settings.upstream.schemes if settings.upstream.url else (),
        attempts=Attempts(limits.failed_logins_per_minute) if limits.failed_logins_per_minute else None,
        metrics=metrics,
    )
    reload = users.reload if users is not None else _nothing
    cookie = cookie_name(secure=not settings.dev)
    return Authentication(chain, web, Quota(limits, metrics), limits, cookie, reload)


def _nobody(grant: str) -> bool:
    return False


def _nothing() -> None:
    """There is nothing to read again."""

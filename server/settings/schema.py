"""The settings: every section and key with its type, its default, its unit and why it is there.

A field's type ends with a text, the key's line in `config/clearsync.toml`. A name that ends in `_s` counts seconds, in
`_bytes` bytes. What a type can't say about a value is in `rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
import platformdirs
from msgspec import Meta
from msgspec.structs import fields

from server.settings.rules import split_address

FLAGS: Final = {
    "server.host": "--host",
    "server.port": "--port",
    "server.workers": "--workers",
    "store.url": "--store",
    "store.data_dir": "--data-dir",
    "dev": "--dev",
    "insecure_http": "--insecure-http",
}
"""The settings that `serve` takes as flags; the two without a section are nothing else."""

Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Limit = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Bytes = Annotated[int, Meta(ge=1024, le=64 * 1024 * 1024)]
Seconds = Annotated[float, Meta(ge=0.01, le=86_400)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Server(Section, frozen=True):
    """Where it listens, and who stands before it."""

    host: Annotated[str, "address to listen on; beyond loopback it wants TLS, or a proxy that ends it"] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535), "port to listen on; 0 picks a free one and prints it"] = 8080
    workers: Annotated[int, Meta(ge=1, le=64), "processes that serve; about one a core"] = 1
    base_path: Annotated[str, "prefix of every path, where a proxy gives clearsync only a part of a host"] = ""
    trusted_proxies: Annotated[tuple[str, ...], "addresses or networks whose X-Forwarded-* headers are believed"] = ()
    tls_certificate: Annotated[str, "file of the certificate chain, PEM; read again on SIGHUP"] = ""
    tls_key: Annotated[str, "file of its private key, PEM, not encrypted; read again on SIGHUP"] = ""
    drain_grace_s: Annotated[
        float, Meta(ge=0, le=3600), "seconds between /ready turning red and the end of new connections, for balancers"
    ] = 0.0
    drain_s: Annotated[float, Meta(ge=0, le=3600), "seconds in which sessions are sent away before an exit"] = 10.0


class Store(Section, frozen=True):
    """Where the handled state lives."""

    url: Annotated[str, "the store: embedded, or your redis://, rediss:// or unix:// (memory is for tests)"] = (
        "embedded"
    )
    data_dir: Annotated[str, "directory of the embedded store; empty is the user's own data directory"] = ""
    prefix: Annotated[str, "first part of every key and channel, so that others can use the same store"] = "cs"
    retention_days: Annotated[int, Meta(ge=1, le=3650), "days for which an away device can still catch up"] = 30
    max_events_per_agent: Annotated[int, Meta(ge=1000, le=1_000_000), "handled events kept an agent; bounds memory"] = (
        10_000
    )
    timeout_s: Annotated[Seconds, "seconds after which a silent store is answered 503"] = 2.0
    probe_interval_s: Annotated[
        float, Meta(ge=0, le=3600), "seconds between looks whether announcements still arrive; 0 is never"
    ] = 5.0
    record_again_s: Annotated[
        float, Meta(ge=0, le=60), "seconds of recorded batches that are recorded again in a store that lost them"
    ] = 5.0

    @property
    def data_dir_path(self) -> Path:
        """`data_dir`, or the user's data directory, as an absolute path. It need not exist yet."""
        return Path(self.data_dir or platformdirs.user_data_dir("clearsync", appauthor=False)).absolute()


class Gateway(Section, frozen=True):
    """The devices' connections."""

    allowed_origins: Annotated[
        tuple[str, ...], "browser origins that may connect, and call (CORS), besides this host's own"
    ] = ()
    ping_interval_s: Annotated[Seconds, "seconds between pings; keep it under every proxy's idle timeout"] = 25.0
    ping_timeout_s: Annotated[Seconds, "seconds in which a ping is answered, or the device is gone"] = 10.0
    max_frame_bytes: Annotated[Bytes, "bytes of the largest frame a device may send"] = 65_536


class Auth(Section, frozen=True):
    """Who may call."""

    users_file: Annotated[
        str, "file of users, TOML, for Basic; read again when it changes; hashes: `clearsync hash-password`"
    ] = ""
    tickets: Annotated[bool, "take SoTicket tickets that `clearsync token issue` made"] = False
    app_tokens: Annotated[
        tuple[str, ...], "hashes, SHA-256 in hex, of the SO-AppTokens of which SoTicket needs one; empty asks for none"
    ] = ()
    web_session_s: Annotated[Seconds, "seconds for which a browser that signed in stays so, at most"] = 28_800.0


class Jwt(Section, frozen=True):
    """Bearer tokens that are JSON web tokens, verified here."""

    keys_file: Annotated[str, "file of keys: PEM, JWKS, or for HS256 the secret itself; empty and no URL is off"] = ""
    jwks_url: Annotated[str, "where the issuer publishes its JWKS; fetched again for a key that is not known"] = ""
    algorithms: Annotated[tuple[str, ...], "signature algorithms that count; others are refused"] = (
        "RS256",
        "ES256",
        "EdDSA",
    )
    issuer: Annotated[str, "what `iss` must be; empty does not ask"] = ""
    audience: Annotated[str, "what `aud` must have; required, as tokens made for another service must not count"] = ""
    leeway_s: Annotated[float, Meta(ge=0, le=300), "seconds by which clocks may differ, for `exp` and `nbf`"] = 30.0
    agent_claim: Annotated[str, "claim that is the agent's name in the CRM"] = "sub"
    tenant_claim: Annotated[str, "claim that is the tenant; few issuers have one, then set `tenant`"] = "tenant"
    tenant: Annotated[str, "the tenant of every token, instead of a claim; empty reads the claim"] = ""
    scope_claim: Annotated[
        str, "claim with scopes, a list or words; empty, or absent from a token: handled:write, sync:read"
    ] = "scope"


class Upstream(Section, frozen=True):
    """The CRM as the judge of its own credentials."""

    url: Annotated[str, "where the CRM answers who somebody is, such as https://crm/api/v1/User/currentPrincipal"] = ""
    schemes: Annotated[tuple[str, ...], "schemes whose credentials are sent there: basic, soticket, bearer"] = (
        "soticket",
        "bearer",
    )
    timeout_s: Annotated[Seconds, "seconds after which a silent upstream is answered 503"] = 5.0
    session_s: Annotated[Seconds, "seconds after which a session shows its credentials again, as they may be void"] = (
        3600.0
    )
    agent_field: Annotated[str, "field of the answer that is the agent's name; dots go deeper"] = "Associate"
    tenant_field: Annotated[str, "field of the answer that is the tenant; dots go deeper"] = "DatabaseContextIdentifier"
    tenant: Annotated[str, "the tenant of everybody there, instead of a field; empty reads the field"] = ""


class Limits(Section, frozen=True):
    """What one caller, and all together, may ask of a worker."""

    body_bytes: Annotated[Bytes, "bytes of the largest request body; over it 413"] = 262_144
    header_bytes: Annotated[Bytes, "bytes of the largest request head; over it 431"] = 16_384
    header_timeout_s: Annotated[Seconds, "seconds in which a request's head must be complete"] = 10.0
    body_timeout_s: Annotated[Seconds, "seconds in which its body must be complete"] = 30.0
    requests_in_flight: Annotated[Count, "requests answered at one time by a worker; over it 503"] = 10_000
    bodies_in_flight_bytes: Annotated[
        Annotated[int, Meta(ge=1_048_576, le=16_000_000_000)], "bytes of their bodies together; over it 503"
    ] = 67_108_864
    connections_per_worker: Annotated[
        Limit, "connections to a worker; over it 503; 0 is as many as its open files allow"
    ] = 0
    sessions_per_worker: Annotated[Limit, "devices connected to a worker; 0 is no limit"] = 0
    sessions_per_agent: Annotated[Limit, "devices of an agent connected at once, to all workers; 0 is no limit"] = 20
    frames_per_session_s: Annotated[Limit, "frames a second that a device may send; 0 is no limit"] = 20
    frames_per_session_burst: Annotated[
        Count, "frames that it may send at once; over it error, twice over it the end"
    ] = 200
    web_sessions_per_agent_minute: Annotated[
        Limit, "browsers an agent signs in a minute, to a worker; 0 is no limit"
    ] = 30
    requests_per_agent_s: Annotated[Limit, "requests a second of an agent to a worker; 0 is no limit"] = 200
    requests_per_agent_burst: Annotated[Count, "requests that an agent may make at once after a pause"] = 1000
    requests_per_address_s: Annotated[Limit, "the same for an address; 0, no limit, since an office may be one"] = 0
    requests_per_address_burst: Annotated[Count, "requests that an address may make at once after a pause"] = 5000
    failed_logins_per_minute: Annotated[
        Limit, "wrong credentials a minute from an address, to a worker; over it 429; 0 is no limit"
    ] = 10


class Admin(Section, frozen=True):
    """The operators' listener."""

    listen: Annotated[str, "loopback host:port that tells the health of all workers; empty is off"] = "127.0.0.1:9180"

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port of `listen`, None where it is off."""
        return split_address(self.listen) if self.listen else None


class Console(Section, frozen=True):
    """The web page."""

    enabled: Annotated[bool, "serve the web console at /console/; --dev does it anyway"] = False


class Log(Section, frozen=True):
    """What is written to stderr."""

    level: Annotated[Literal["debug", "info", "warning", "error"], "least level written"] = "info"
    format: Annotated[Literal["auto", "text", "json"], "text for people, json for machines, auto asks the terminal"] = (
        "auto"
    )


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. `dev` and `insecure_http` weaken the service: only a flag sets them, never a file left behind."""

    server: Server = Server()
    store: Store = Store()
    gateway: Gateway = Gateway()
    auth: Auth = Auth()
    jwt: Jwt = Jwt()
    upstream: Upstream = Upstream()
    limits: Limits = Limits()
    admin: Admin = Admin()
    console: Console = Console()
    log: Log = Log()
    dev: bool = False
    insecure_http: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: its place, its default, and one line on what it is and why."""

    section: str
    key: str
    default: object
    doc: str
    type: Any

    @property
    def name(self) -> str:
        """``section.key``, as messages and flags call it."""
        return f"{self.section}.{self.key}"

    @property
    def environment(self) -> str:
        """Its name in the environment."""
        return f"CLEARSYNC_{self.section}__{self.key}".upper()


def describe() -> Iterator[Key]:
    """Every setting of the file and the environment, in the order of `config/clearsync.toml`."""
    for section in fields(Settings):
        if section.type is not bool:
            for field in fields(section.type):
                yield Key(section.name, field.name, field.default, get_args(field.type)[-1], field.type)


KEYS: Final = {key.name: key for key in describe()}

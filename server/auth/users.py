"""The file of users: TOML, one `[users.NAME]` each.

[users.ada]
hash = "$argon2id$v=19$m=65536,t=3,p=4$…$…"     # by `clearsync hash-password`
tenant = "acme"
agent = "ada"                                   # her name in the CRM; the user's name where absent
scopes = ["handled:write", "sync:read"]         # these two where absent; also admin, agents:write

A user's credentials stand on the grant ``user:<digest>``, which is made of the entry: it is the same in every worker
and after every start, as long as nothing in the entry changes.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError

from server.auth.principal import DEFAULT_SCOPES, Principal, Scope
from server.errors import BadRequest, SettingsError
from server.events import AgentId

_KEYS: Final = ("hash", "tenant", "agent", "scopes")
_HASH: Final = re.compile(r"\$argon2(?:id|i|d)\$v=19\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}")


@dataclass(frozen=True, slots=True)
class User:
    """One who can sign in."""

    hash: str
    principal: Principal

    @property
    def grant(self) -> str:
        """What all of the user's credentials stand on."""
        return self.principal.grants[0]


def folded(name: str) -> str:
    """A user's name as it is compared: NFC, and without case, as CRM logins are."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def read_users(path: Path) -> dict[str, User]:
    """The users of a file by their folded names. Raises `SettingsError`: one line with the file, the user, the rule."""
    try:
        raw = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise SettingsError(f"users file {path} can't be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"users file {path} is not TOML: {error}") from None
    try:
        return _users(raw)
    except ValueError as error:
        raise SettingsError(f"users file {path}: {error}") from None


def _users(raw: dict[str, Any]) -> dict[str, User]:
    entries = raw.get("users")
    if not isinstance(entries, dict) or not entries:
        raise ValueError("it has no users, each needs a table [users.NAME]")
    for key in raw:
        if key != "users":
            raise ValueError(f"unknown table [{key}], a user is a table [users.NAME]")
    users: dict[str, User] = {}
    spelt: dict[str, str] = {}
    for name, entry in entries.items():
        try:
            user = _user(name, entry)
        except (ValueError, BadRequest) as error:
            raise ValueError(f"[users.{name}] {error}") from None
        if folded(name) in users:
            raise ValueError(f"[users.{name}] and [users.{spelt[folded(name)]}] are the same user, case does not count")
        users[folded(name)], spelt[folded(name)] = user, name
    return users


def _user(name: str, entry: object) -> User:
    if not name or ":" in name or not name.isprintable():
        raise ValueError("can't sign in: a user name has no colon and no control character, and is not empty")
    if not isinstance(entry, dict):
        raise ValueError("must be a table with hash and tenant")
    for key in entry:
        if key == "password":
            raise ValueError("unknown key password: it is hash, and its value is from `clearsync hash-password`")
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            raise ValueError(f"unknown key {key}" + (f", did you mean {near[0]}?" if near else ""))
    agent = AgentId.of(_text(entry, "tenant"), _text(entry, "agent", name))
    hash_, scopes = _hash(_text(entry, "hash")), _scopes(entry)
    return User(hash_, Principal(agent, scopes, grants=(_grant(name, hash_, agent, scopes),)))


def _grant(name: str, hash_: str, agent: AgentId, scopes: frozenset[Scope]) -> str:
    """Tells nothing of the entry: in it are the random salt and the hash, which only those know who see the file."""
    entry = msgspec.json.encode((folded(name), hash_, agent.tag, sorted(scopes)))
    return f"user:{hashlib.sha256(entry).hexdigest()[:32]}"


def _text(entry: dict[str, object], key: str, default: str | None = None) -> str:
    value = entry.get(key, default)
    if value is None:
        raise ValueError(f"{key} is missing")
    if not isinstance(value, str):
        raise ValueError(f"{key} must be text")
    return value


def _hash(value: str) -> str:
    # what it is instead is not shown: it may be the password itself
    problem = "hash must be an argon2 hash, such as `clearsync hash-password` prints"
    if not _HASH.fullmatch(value):
        raise ValueError(problem)
    try:
        extract_parameters(value)
    except InvalidHashError:
        raise ValueError(problem) from None
    return value


def _scopes(entry: dict[str, object]) -> frozenset[Scope]:
    value = entry.get("scopes")
    if value is None:
        return DEFAULT_SCOPES
    known = {scope.value: scope for scope in Scope}
    if not isinstance(value, list) or not all(isinstance(scope, str) for scope in value):
        raise ValueError("scopes must be a list of texts")
    for scope in value:
        if scope not in known:
            raise ValueError(f"unknown scope {scope!r}, it must be one of {', '.join(known)}")
    return frozenset(known[scope] for scope in value)

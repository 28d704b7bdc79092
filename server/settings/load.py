"""Settings are read once, checked before anything is started, and frozen from then on.

1. Flags over environment over file over default. A value that is overridden must be good all the same.
2. A name that nobody reads is refused, wherever it stands: a misspelt limit is no limit.
3. A problem is one `SettingsError` line with the key, its value, where it was given, and the rule.
4. What one key may be is said in `schema` and `rules`, what several may be together in `check`.
"""

from __future__ import annotations

import difflib
import json
import re
import ssl
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, NoReturn, get_args, get_origin

import msgspec
from msgspec.structs import fields

from server.errors import SettingsError
from server.settings.rules import RULES, is_loopback, masked_url
from server.settings.schema import FLAGS, KEYS, Key, Settings

RESERVED: Final = frozenset(
    f"CLEARSYNC_{name}" for name in ("URL", "USER", "PASSWORD", "TICKET", "APP_TOKEN", "CONFIG")
)
"""Environment names that belong to the client commands and to `--config`, and are no settings."""

SECRET: Final = frozenset({"auth.app_tokens"})
"""Settings whose mistaken value may be a secret that was to be hashed."""

_SECTIONS: Final = tuple(dict.fromkeys(key.section for key in KEYS.values()))
_BY_ENVIRONMENT: Final = {key.environment: key.name for key in KEYS.values()}
_FLAG_ONLY: Final = {field.name: FLAGS[field.name] for field in fields(Settings) if field.type is bool}
_PLAIN: Final = re.compile(r"[\w.:/+*-]+", re.ASCII)


class _Given(NamedTuple):
    """A value, and where it was given. `text`: it was written as text, whatever its type."""

    name: str
    value: Any
    where: str
    text: bool


def load(config: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """The settings of a file, an environment and flags (by dotted name; None is absent), each value checked alone.

    `check` is the caller's next step. Raises `SettingsError`.
    """
    values: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
    for given in chain(_from_file(config) if config else (), _from_environ(environ), _from_flags(flags)):
        if given.name in _FLAG_ONLY:
            values[given.name] = bool(given.value)
        else:
            key = KEYS[given.name]
            sections[key.section][key.key] = _accepted(key, given)
    for field in fields(Settings):
        if field.name in sections:
            values[field.name] = field.type(**sections[field.name])
    return Settings(**values)


def _from_file(config: Path) -> Iterator[_Given]:
    where = f"file {config}"
    try:
        raw = tomllib.loads(config.read_bytes().decode())
    except OSError as error:
        raise SettingsError(f"config {where} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"config {where} is not TOML: {error}") from None
    for section, table in raw.items():
        if section in _FLAG_ONLY or section not in _SECTIONS:
            _unknown(section, where, _SECTIONS, "section")
        if not isinstance(table, dict):
            raise SettingsError(f"{section} is {_shown(table)} ({where}), it must be a section, [{section}]")
        for key, value in table.items():
            if f"{section}.{key}" not in KEYS:
                _unknown(f"{section}.{key}", where, KEYS)
            yield _Given(f"{section}.{key}", value, where, text=False)


def _from_environ(environ: Mapping[str, str]) -> Iterator[_Given]:
    for name in sorted(environ):
        if name.startswith("CLEARSYNC_") and name not in RESERVED:
            if name not in _BY_ENVIRONMENT:
                _unknown(name, "environment", _BY_ENVIRONMENT)
            yield _Given(_BY_ENVIRONMENT[name], environ[name], f"environment {name}", text=True)


def _from_flags(flags: Mapping[str, object]) -> Iterator[_Given]:
    for name, value in flags.items():
        if name not in KEYS and name not in _FLAG_ONLY:
            _unknown(name, "flag", KEYS)
        if value is not None:
            yield _Given(name, value, f"flag {FLAGS.get(name, name)}", text=isinstance(value, str))


def _unknown(name: str, where: str, known: Iterable[str], what: str = "setting") -> NoReturn:
    flag = _FLAG_ONLY.get(name.removeprefix("CLEARSYNC_").lower())
    if flag:
        raise SettingsError(f"{name} ({where}) is not a setting, only the flag {flag}")
    # without the prefix that all names of the environment share, which would make any two of them alike
    choices = {choice.removeprefix("CLEARSYNC_"): choice for choice in known}
    near = difflib.get_close_matches(name.removeprefix("CLEARSYNC_").strip(), choices, n=1)
    raise SettingsError(
        f"unknown {what} {_shown(name)} ({where})" + (f", did you mean {choices[near[0]]}?" if near else "")
    )


def _accepted(key: Key, given: _Given) -> object:
    """The value as it is kept, or the `SettingsError` that says what it must be."""
    value = given.value
    kind = get_args(key.type)[0]
    if given.text and get_origin(kind) is tuple:
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        kept: object = msgspec.convert(value, key.type, strict=not given.text)
        for part in kept if isinstance(kept, tuple) else (kept,):
            if isinstance(part, str) and not part.isprintable():
                raise ValueError("printable text")
        return RULES[key.name](kept) if key.name in RULES else kept
    except msgspec.ValidationError:
        rule = _type_rule(key, value, text=given.text)
    except ValueError as error:
        rule = str(error)
    shown = "not shown" if key.name in SECRET else _shown(given.value)
    raise SettingsError(f"{key.name} is {shown} ({given.where}), it must be {rule}")


def _type_rule(key: Key, value: object, *, text: bool) -> str:
    kind, *notes = get_args(key.type)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    if get_origin(kind) is tuple:
        return "a list of texts"
    if kind not in (int, float):
        return "true or false" if kind is bool else "text"
    bounds = next(f"from {note.ge} to {note.le}" for note in notes if isinstance(note, msgspec.Meta))
    try:
        msgspec.convert(value, kind, strict=not text)
    except msgspec.ValidationError:
        return ("a whole number " if kind is int else "a number ") + bounds
    return bounds


def _shown(value: object) -> str:
    """As it was written, on one line, not too long, and without a password."""
    if isinstance(value, bool):
        return str(value).lower()
    text = masked_url(value if isinstance(value, str) else repr(value))
    shown = repr(text) if isinstance(value, str) and not _PLAIN.fullmatch(text) else text
    return shown if len(shown) <= 80 else shown[:77] + "..."


def check(settings: Settings) -> None:
    """What no single key can say: `SettingsError` with the first rule between settings that is broken."""
    for problem in chain(_exposure(settings), _tls(settings), _combinations(settings)):
        raise SettingsError(problem)


def _exposure(settings: Settings) -> Iterator[str]:
    server, loopback = settings.server, is_loopback(settings.server.host)
    if settings.dev and not loopback:
        yield f"--dev lets anyone in as anyone, so server.host must be a loopback host, not {server.host}"
    ways = (settings.auth.users_file, settings.auth.tickets, *_issuers(settings), settings.upstream.url)
    if not settings.dev and not any(ways):
        yield (
            "no authentication is configured: set auth.users_file to a file of users "
            "(hashes come from `clearsync hash-password`), or one of auth.tickets, jwt.keys_file, jwt.jwks_url, "
            "upstream.url, or use --dev on a loopback host"
        )
    if not (loopback or server.tls_certificate or server.tls_key or server.trusted_proxies or settings.insecure_http):
        yield (
            f"server.host is {server.host} and passwords would cross the network in the clear: "
            "set server.tls_certificate and server.tls_key, or server.trusted_proxies where a proxy ends TLS, "
            "or use --insecure-http"
        )


def _tls(settings: Settings) -> Iterator[str]:
    """Loads the pair once, so that a wrong key is found here and not by the first device."""
    pair = {"server.tls_certificate": settings.server.tls_certificate, "server.tls_key": settings.server.tls_key}
    if not any(pair.values()):
        return
    for name, path in pair.items():
        if not path:
            yield f"{name} is missing, server.tls_certificate and server.tls_key go together"
        yield from _unreadable(name, path)
    try:
        certificate, key = pair.values()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")  # nosec B106 # or OpenSSL asks at the terminal
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "not PEM"
        yield f"server.tls_certificate and server.tls_key are not a certificate and its key, not encrypted ({reason})"


def _combinations(settings: Settings) -> Iterator[str]:
    gateway, workers = settings.gateway, settings.server.workers
    if settings.store.url == "memory" and workers > 1:
        yield f"store.url is memory, which one process alone can see, and server.workers is {workers}: it must be 1"
    if gateway.ping_timeout_s >= gateway.ping_interval_s:
        yield (
            f"gateway.ping_timeout_s is {gateway.ping_timeout_s:g}, it must be less than "
            f"gateway.ping_interval_s, which is {gateway.ping_interval_s:g}"
        )
    yield from _authentication(settings)


def _issuers(settings: Settings) -> tuple[str, str]:
    return settings.jwt.keys_file, settings.jwt.jwks_url


def _authentication(settings: Settings) -> Iterator[str]:
    auth, jwt, upstream = settings.auth, settings.jwt, settings.upstream
    if auth.users_file and not settings.dev:
        yield from _unreadable("auth.users_file", auth.users_file)
    if jwt.keys_file:
        yield from _unreadable("jwt.keys_file", jwt.keys_file)
    if any(_issuers(settings)) and not jwt.audience:
        yield "jwt.audience is empty: a token that its issuer made for another service would be taken here"
    if any(_issuers(settings)) and not jwt.algorithms:
        yield "jwt.algorithms is empty, it must name the algorithms that count"
    if jwt.jwks_url and any(name.startswith("HS") for name in jwt.algorithms):
        yield "jwt.algorithms has HS, whose key is a secret: it comes from jwt.keys_file, never from jwt.jwks_url"
    if auth.users_file and upstream.url and "basic" in upstream.schemes:
        yield "Basic has two judges: take basic out of upstream.schemes, or auth.users_file away"
    if upstream.url and not upstream.schemes:
        yield "upstream.schemes is empty, it must be a list of basic, soticket, bearer"
    if auth.app_tokens and not (auth.tickets or (upstream.url and "soticket" in upstream.schemes)):
        yield "auth.app_tokens go with SoTicket, which is not served: set auth.tickets or upstream.url"


def _unreadable(name: str, path: str) -> Iterator[str]:
    try:
        with open(path, "rb"):
            return
    except OSError as error:
        yield f"{name} is {path}, which can't be read: {error.strerror}"


def dump(settings: Settings) -> str:
    """The settings in effect as TOML, in the order of `config/clearsync.toml`, passwords masked."""
    lines = [f"# {flag}" for name, flag in _FLAG_ONLY.items() if getattr(settings, name)]
    for section in _SECTIONS:
        values = getattr(settings, section)
        lines += ["", f"[{section}]"]
        for key in (key for key in KEYS.values() if key.section == section):
            value = getattr(values, key.key)
            lines.append(f"{key.key} = {_toml(masked_url(value) if key.name == 'store.url' else value)}")
            if key.name == "store.data_dir" and not value:
                lines[-1] += f"  # {settings.store.data_dir_path}"
    return "\n".join(lines).lstrip("\n") + "\n"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # text is printable, so the only escapes are the two that JSON and TOML share; numbers are finite
    return json.dumps(value, ensure_ascii=False)

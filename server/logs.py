"""What is written to stderr, by us and by the libraries: one line an event, as text or JSON, never a credential.

1. Ids of agents, devices and sessions may be logged, content and credentials may not. `mask` is the last line of
   defence for that and no licence: say nothing secret in the first place.
2. The libraries' loggers go through the same chain. `websockets` writes whole handshakes at DEBUG, `Authorization`
   included, and a line a connection at INFO: it stays at WARNING whatever the level.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

SECRET_KEYS: Final = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "password",
        "ticket",
        "token",
        "secret",
        "cookie",
        "set-cookie",
        "so-apptoken",
        "app_token",
        "x-xsrf-token",
    }
)
PATH_KEYS: Final = frozenset({"path", "url"})
MASK: Final = "***"

_QUERY = re.compile(r"\?.*", re.DOTALL)
_IN_TEXT: Final = (
    # a header, as libraries quote it: all that follows on its line
    (
        re.compile(
            r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|so-apptoken|x-xsrf-token)\b([\"']?\s*[:=,]\s*)[^\r\n]+"
        ),
        r"\1\2" + MASK,
    ),
    # a scheme and its credentials: these have a digit, a capital or a sign somewhere, the next word of a sentence not
    (re.compile(r"\b((?i:basic|bearer|soticket)\s+)(?=[^\s\"']{0,200}[0-9A-Z=:])[^\s\"',;)]{4,}"), r"\1" + MASK),
    # a parameter or an assignment: up to its end
    (re.compile(r"(?i)\b(password|ticket|token)([\"']?\s*[:=]\s*[\"']?)[^\s\"'&;,)]+"), r"\1\2" + MASK),
    # a URL: the password of its user, and its query
    (re.compile(r"([A-Za-z]://)[^\s/@]{1,1000}@"), r"\1" + MASK + "@"),
    (re.compile(r"(://[^\s?\"']{0,1000})\?[^\s\"']+"), r"\1?…masked"),  # bounded, or it is quadratic in ://://…
)


def configure(level: str, format: str) -> None:
    """Sends all logging of this process to stderr from now on, from `level` upwards.

    `format` is text, json, or auto (text in a terminal, else json). Called once in a process, before its first message:
    a logger that has been used keeps its level. Run uvicorn with `log_config=None`, else it brings its own handlers.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    chain: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        mask,
    ]
    structlog.configure(
        processors=[*chain, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = _Stderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(format)],
        )
    )
    _libraries(number, handler)


def get(name: str) -> FilteringBoundLogger:
    """The logger of a room, such as ``clearsync.gateway``: ``log.info("connected", device=…)``."""
    return cast(FilteringBoundLogger, structlog.get_logger(name))


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is by then: one that was kept might have been replaced or closed."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _libraries(level: int, handler: logging.Handler) -> None:
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(max(level, logging.ERROR))  # its life is the worker's; and it warns of whatever is no HTTP
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False  # no handler in reach: uvicorn sees it and does not even make the line
    for name in ("websockets", "httpx2", "httpcore2"):  # handshakes, requests with URLs, headers of answers
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _renderers(format: str) -> list[Processor]:
    terminal = sys.stderr.isatty()
    if format == "json" or (format == "auto" and not terminal):
        return [structlog.processors.JSONRenderer(ensure_ascii=False)]
    colors = terminal and not os.environ.get("NO_COLOR")
    # the plain traceback: the pretty one shows the locals, and they hold credentials
    plain = structlog.dev.plain_traceback
    return [_visible, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain, pad_event_to=0)]


def mask(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Takes the credentials out of an event: secret keys, at any depth, queries of paths, and what a text quotes."""
    return _masked_mapping(event)


def _masked_mapping(values: Mapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: _masked_entry(key, value) for key, value in values.items()}


def _masked_entry(key: object, value: Any) -> Any:
    name = _name(key)
    if name in SECRET_KEYS:
        return MASK
    if name in PATH_KEYS and isinstance(value, str | bytes):
        text = value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
        return _masked(_QUERY.sub("?…masked", text))
    return value if name in ("_record", "_from_structlog") else _masked(value)


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        for pattern, replacement in _IN_TEXT:
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, dict):
        return _masked_mapping(value)
    if isinstance(value, list | tuple):
        if len(value) == 2 and _name(value[0]) in SECRET_KEYS:  # one of ASGI's raw headers
            return (value[0], MASK)
        return [_masked(item) for item in value]
    return value


def _name(key: object) -> str | None:
    if isinstance(key, bytes):
        return key.decode("latin-1").lower()
    return key.lower() if isinstance(key, str) else None


def _visible(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """A caller's text can't forge a line or speak to the terminal: what does not print is shown by its escape."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            kept = "\n" if key in ("exception", "stack") else ""
            event[key] = "".join(c if c.isprintable() or c in kept else _escaped(c) for c in value)
    return event


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()

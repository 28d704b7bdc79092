"""One frozen settings object, read once: `load`, then `check`."""

from __future__ import annotations

from server.settings.load import RESERVED, check, dump, load
from server.settings.rules import is_loopback, masked_url
from server.settings.schema import FLAGS, KEYS, Key, Settings, describe

__all__ = [
    "FLAGS",
    "KEYS",
    "RESERVED",
    "Key",
    "Settings",
    "check",
    "describe",
    "dump",
    "is_loopback",
    "load",
    "masked_url",
]

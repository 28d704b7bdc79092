"""The async Python client: what devices, the commands and the tests use. Imports only `events`, `wire` and `errors`."""

from __future__ import annotations

from server.client.address import base_url, check_exposure, is_loopback
from server.client.client import Client
from server.client.connection import Timing
from server.client.credentials import Ask
from server.client.cursors import CursorKey, CursorStore, FileCursors
from server.client.frames import Clear, HandledEvent, Problem, Received, Reset, Welcome
from server.client.retry import (
    AccessRefused,
    ClientError,
    CredentialsRefused,
    NotConnected,
    RequestRefused,
    ServerUnavailable,
    UntrustedServer,
)

__all__ = [
    "AccessRefused",
    "Ask",
    "Clear",
    "Client",
    "ClientError",
    "CredentialsRefused",
    "CursorKey",
    "CursorStore",
    "FileCursors",
    "HandledEvent",
    "NotConnected",
    "Problem",
    "Received",
    "RequestRefused",
    "Reset",
    "ServerUnavailable",
    "Timing",
    "UntrustedServer",
    "Welcome",
    "base_url",
    "check_exposure",
    "is_loopback",
]

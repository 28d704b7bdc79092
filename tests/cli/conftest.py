"""Commands on a real store, in this process."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest

from server.auth.vault import name_of
from server.cli import main
from tests.running import client

TICKET: Final = re.compile(r"cs1\.[A-Za-z0-9_-]{43}\n")


class Shell:
    """Commands on one store, in this process: `status`, `out` and `err` are the last one's."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._url = url
        self._capsys = capsys
        self.status = 0
        self.out = self.err = ""

    def __call__(self, *words: str) -> str:
        self._capsys.readouterr()
        self.status = main([*words, "--store", self._url])
        self.out, self.err = self._capsys.readouterr()
        return self.out

    def issue(self, agent: str = "acme/ada", ttl: str = "30d", *more: str) -> str:
        """A new ticket."""
        ticket = self("token", "issue", "--agent", agent, "--ttl", ttl, *more)
        assert self.status == 0, self.err
        assert TICKET.fullmatch(ticket)
        return ticket.rstrip()


@pytest.fixture
def nobody_signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names no server and no credentials, and nobody types any."""
    for name in ("URL", "USER", "PASSWORD", "TICKET", "APP_TOKEN"):
        monkeypatch.delenv(f"CLEARSYNC_{name}", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.fixture
def shell(store_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("CLEARSYNC_AUTH__TICKETS", "true")
    monkeypatch.delenv("CLEARSYNC_CONFIG", raising=False)
    return Shell(store_url, capsys)


@pytest.fixture
def raw(store_url: str) -> Iterator[Any]:
    with client(store_url) as store:
        yield store


def id_of(ticket: str, length: int = 12) -> str:
    return name_of("ticket", ticket).partition(":")[2][:length]


def everything(raw: Any) -> bytes:
    """All keys of a store, and all values that are texts."""
    return b"\n".join(key + b" " + (raw.get(key) or b"") for key in raw.scan_iter("*") if raw.type(key) == b"string")

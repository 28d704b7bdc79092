"""Which server, and who is asking: flags over environment over defaults."""

from __future__ import annotations

import argparse
import io
import sys

import pytest

from server.cli.remote import Remote, add_arguments, hinting, remote
from server.client import CredentialsRefused
from server.errors import BadRequest

FAR = "https://sync.example.com"


def _remote(*flags: str) -> Remote:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return remote(parser.parse_args(flags))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "USER", "PASSWORD"):
        monkeypatch.delenv(f"CLEARSYNC_{name}", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())


def test_on_this_machine_a_user_is_enough() -> None:
    assert _remote("--user", "ada") == Remote("http://127.0.0.1:8080", "ada", "dev", assumed=True)


def test_the_environment_gives_what_flags_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARSYNC_URL", FAR)
    monkeypatch.setenv("CLEARSYNC_USER", "ada")
    monkeypatch.setenv("CLEARSYNC_PASSWORD", "secret")
    assert _remote() == Remote(FAR, "ada", "secret")
    flags = ("--url", "http://[::1]:1/", "--user", "bob", "--password", "x")
    assert _remote(*flags) == Remote("http://[::1]:1", "bob", "x")


def test_a_user_is_needed() -> None:
    with pytest.raises(BadRequest, match="--user or CLEARSYNC_USER"):
        _remote()


def test_the_password_for_development_stays_on_this_machine() -> None:
    with pytest.raises(BadRequest, match="CLEARSYNC_PASSWORD"):
        _remote("--url", FAR, "--user", "ada")


def test_in_a_terminal_the_password_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: f"typed at {prompt!r}")
    assert _remote("--url", FAR, "--user", "ada").password == f"typed at 'password of ada at {FAR}: '"


def test_a_refused_guess_says_that_it_was_one() -> None:
    for assumed, expected in (
        (True, r"^who \(401\); no password was given, 'dev' was tried"),
        (False, r"^who \(401\)$"),
    ):
        with pytest.raises(CredentialsRefused, match=expected), hinting(Remote("u", "ada", "dev", assumed)):
            raise CredentialsRefused("who (401)", 401)

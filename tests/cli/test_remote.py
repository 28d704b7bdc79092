"""Which server, and who is asking: flags over environment over defaults."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import pytest

from server.auth.vault import name_of
from server.cli.remote import ID_LENGTH, Remote, add_arguments, remote, signed_in
from server.client import CredentialsRefused
from server.errors import BadRequest
from server.settings import Settings, load

pytestmark = pytest.mark.usefixtures("nobody_signed_in")
FAR = "https://sync.example.com"


def _remote(*flags: str) -> Remote:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return remote(parser.parse_args(flags))


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
    with pytest.raises(BadRequest, match="--user or CLEARSYNC_USER, or a ticket in CLEARSYNC_TICKET"):
        _remote()


def test_the_password_for_development_stays_on_this_machine() -> None:
    with pytest.raises(BadRequest, match="CLEARSYNC_PASSWORD"):
        _remote("--url", FAR, "--user", "ada")


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Somebody is at a terminal and types "typed"; this is what he is asked."""
    prompts: list[str] = []

    def getpass(prompt: str) -> str:
        prompts.append(prompt)
        return "typed"

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", getpass)
    return prompts


def test_in_a_terminal_the_password_is_asked_for(typed: list[str]) -> None:
    assert _remote("--url", FAR, "--user", "ada").password == "typed"
    assert typed == [f"password of ada at {FAR}: "]


def test_who_answers_with_ctrl_d_is_told_what_is_missing(typed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("getpass.getpass", ended)
    with pytest.raises(BadRequest, match="password is missing"):
        _remote("--url", FAR, "--user", "ada")


def test_a_ticket_needs_no_user(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _remote("--url", FAR, "--ticket", "cs1.x") == Remote(FAR, ticket="cs1.x")
    monkeypatch.setenv("CLEARSYNC_TICKET", "cs1.y")
    monkeypatch.setenv("CLEARSYNC_USER", "ada")
    assert _remote() == Remote("http://127.0.0.1:8080", ticket="cs1.y")
    assert _remote("--ticket", "cs1.x").ticket == "cs1.x"


def test_what_is_set_for_the_commands_is_no_setting_of_the_server() -> None:
    names = ("URL", "USER", "PASSWORD", "TICKET", "APP_TOKEN")
    assert load(None, {f"CLEARSYNC_{name}": "x" for name in names}, {}) == Settings()


@pytest.mark.parametrize(
    "who",
    [("--ticket", "cs1.x"), ("--user", "ada", "--password", "x"), ("--user", "ada"), ("--url", FAR, "--user", "ada")],
)
def test_an_application_token_goes_with_any_way(
    who: tuple[str, ...], typed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _remote(*who).app_token == ""
    monkeypatch.setenv("CLEARSYNC_APP_TOKEN", "")
    assert _remote(*who) == _remote(*who, "--app-token", "")
    _remote(*who).client()
    monkeypatch.setenv("CLEARSYNC_APP_TOKEN", "two")
    assert _remote(*who).app_token == "two"
    assert _remote(*who, "--app-token", "one").app_token == "one"


def test_a_flag_of_one_way_is_over_the_environment_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARSYNC_TICKET", "cs1.y")
    assert _remote("--user", "bob").user == "bob"
    assert _remote("--user", "bob").ticket == ""
    monkeypatch.setenv("CLEARSYNC_USER", "ada")
    assert _remote("--password", "x") == Remote("http://127.0.0.1:8080", "ada", "x")
    monkeypatch.setenv("CLEARSYNC_PASSWORD", "secret")
    assert _remote("--ticket", "cs1.x") == Remote("http://127.0.0.1:8080", ticket="cs1.x")


def test_two_ways_at_once_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags in (("--user", "ada"), ("--password", "x")):
        with pytest.raises(BadRequest, match="not both"):
            _remote("--ticket", "cs1.x", *flags)
    monkeypatch.setenv("CLEARSYNC_TICKET", "cs1.y")
    monkeypatch.setenv("CLEARSYNC_PASSWORD", "secret")
    with pytest.raises(BadRequest, match="both set"):
        _remote()


@pytest.mark.parametrize("who", [("--ticket", "cs1.x"), ("--user", "ada", "--password", "x"), ("--user", "ada")])
def test_plain_http_to_another_machine_needs_a_flag(who: tuple[str, ...], typed: list[str]) -> None:
    flags = ("--url", "http://sync.example.com", *who)
    with pytest.raises(BadRequest, match="--insecure-http"):
        _remote(*flags)
    assert typed == []  # before a password was typed
    where = _remote(*flags, "--insecure-http")
    assert where.insecure
    where.client()


def test_a_ticket_is_told_by_the_id_that_the_list_of_tickets_shows() -> None:
    ticket = "cs1." + "x" * 43
    kind, _, digest = name_of("ticket", ticket).partition(":")
    assert Remote(FAR, ticket=ticket).who == f"{kind}:{digest[:ID_LENGTH]}"
    assert Remote(FAR, "ada", "x").who == "ada"


def test_no_secret_is_shown() -> None:
    assert "secret" not in repr(Remote(FAR, "ada", "secret", "cs1.secret", "secret"))


def _refusing(*errors: CredentialsRefused | None) -> tuple[Callable[[Remote], None], list[Remote]]:
    """An act that raises these, one each time, and the ways in which it was tried."""
    left, tried = list(errors), list[Remote]()

    def act(where: Remote) -> None:
        tried.append(where)
        error = left.pop(0)
        if error is not None:
            raise error

    return act, tried


REFUSED = CredentialsRefused("who (401)", 401)
EXPIRED = CredentialsRefused("expired (4001)", 4001)
FORGOTTEN = CredentialsRefused("expired (4001): this agent was forgotten", 4001)
NO_APP_TOKEN = CredentialsRefused("SO-AppToken is missing or not known, SoTicket needs it here (401)", 401)
ASSUMED = Remote("u", "ada", "dev", assumed=True)


@pytest.mark.parametrize(
    ("where", "error", "said"),
    [
        (
            ASSUMED,
            REFUSED,
            r"^who \(401\); no password was given, 'dev' was tried: give --password or CLEARSYNC_PASSWORD$",
        ),
        (Remote("u", "ada", "x"), REFUSED, r"^who \(401\)$"),
        (Remote("u", "ada", "x"), EXPIRED, r"^expired \(4001\); start again, with the new password if it was changed$"),
        (
            Remote("u", ticket="x"),
            REFUSED,
            r"^who \(401\); make a ticket with `clearsync token issue` and give it in CLE",
        ),
        (Remote("u", ticket="x"), EXPIRED, r"^expired \(4001\); make a ticket with `clearsync token issue`"),
        (ASSUMED, EXPIRED, r"^expired \(4001\); start again, with the new password if it was changed$"),
        (Remote("u", "ada", "x"), FORGOTTEN, r"forgotten; what was kept of it is erased, start again to begin anew$"),
        (ASSUMED, FORGOTTEN, r"forgotten; what was kept of it is erased, start again to begin anew$"),
        (Remote("u", ticket="x"), FORGOTTEN, r"forgotten; make a ticket with `clearsync token issue`"),
        (
            Remote("u", ticket="x"),
            NO_APP_TOKEN,
            r"\(401\); give the application's token in CLEARSYNC_APP_TOKEN, or with --app-token$",
        ),
        (
            Remote("u", ticket="x", app_token="y"),
            NO_APP_TOKEN,
            r"\(401\); give the right one in CLEARSYNC_APP_TOKEN, or with --app-token$",
        ),
    ],
)
def test_a_refusal_says_what_to_do(where: Remote, error: CredentialsRefused, said: str) -> None:
    act, tried = _refusing(error)
    with pytest.raises(CredentialsRefused, match=said) as caught:
        signed_in(where, act)
    assert caught.value.code == error.code
    assert tried == [where]


def test_a_guess_that_is_refused_is_asked_for_once(typed: list[str]) -> None:
    act, tried = _refusing(REFUSED, None)
    signed_in(ASSUMED, act)
    assert tried == [ASSUMED, Remote("u", "ada", "typed")]
    assert typed == ["password of ada at u: "]

    act, tried = _refusing(REFUSED, REFUSED)
    with pytest.raises(CredentialsRefused, match=r"^who \(401\)$"):
        signed_in(ASSUMED, act)
    assert len(tried) == len(typed) == 2


@pytest.mark.parametrize(
    ("where", "error"),
    [(Remote("u", "ada", "x"), REFUSED), (Remote("u", ticket="x"), REFUSED), (ASSUMED, EXPIRED)],
)
def test_nothing_else_is_asked_for(where: Remote, error: CredentialsRefused, typed: list[str]) -> None:
    act, tried = _refusing(error)
    with pytest.raises(CredentialsRefused):
        signed_in(where, act)
    assert (len(tried), typed) == (1, [])

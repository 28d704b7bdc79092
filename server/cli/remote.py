"""What the commands that talk to a running server share: where it is, and who is asking."""

from __future__ import annotations

import argparse
import getpass
import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from server.client import Client, CredentialsRefused, check_exposure, is_loopback
from server.client import base_url as checked_url
from server.errors import BadRequest

DEFAULT_URL: Final = "http://127.0.0.1:8080"
DEV_PASSWORD: Final = "dev"
"""Where `serve --dev` listens any password does."""
MISSING: Final = "password is missing: give CLEARSYNC_PASSWORD, or run it in a terminal to be asked"
ID_LENGTH: Final = 12
"""Digits of a ticket's hash, as `clearsync token list` shows them."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A server and the credentials for it: user and password, or a ticket alone.

    `app_token`: the application's, which goes with either. `assumed`: nobody gave the password, it is the one for
    development. `insecure`: plain http beyond this machine.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    ticket: str = field(default="", repr=False)
    app_token: str = field(default="", repr=False)
    assumed: bool = False
    insecure: bool = False

    @property
    def who(self) -> str:
        """Who is asking, for people and for what is remembered: the user, or a ticket by its id. No user's name has a
        colon, so the two never meet."""
        return f"ticket:{hashlib.sha256(self.ticket.encode()).hexdigest()[:ID_LENGTH]}" if self.ticket else self.user

    def client(self, **options: Any) -> Client:
        """A client of that server; `options` are `Client`'s. Raises `BadRequest`."""
        options |= {"app_token": self.app_token or None, "insecure": self.insecure}
        if self.ticket:
            return Client(self.url, authorization=f"SoTicket {self.ticket}", **options)
        return Client(self.url, user=self.user, password=self.password, **options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--url``, ``--user`` and ``--password`` or ``--ticket``, ``--app-token``, each also from the environment;
    ``--insecure-http``."""
    parser.add_argument("--url", help=f"the server, with its base path (CLEARSYNC_URL; default {DEFAULT_URL})")
    parser.add_argument("--user", help="who you are there (CLEARSYNC_USER)")
    parser.add_argument(
        "--password",
        help="better in CLEARSYNC_PASSWORD, others see your command line; "
        "without it you are asked, and for this machine's own server it is 'dev'",
    )
    parser.add_argument(
        "--ticket",
        help="instead of user and password: what `clearsync token issue` printed; better in CLEARSYNC_TICKET, "
        "others see your command line",
    )
    parser.add_argument(
        "--app-token",
        help="the application's token, where the server wants one with a ticket (SO-AppToken); better in "
        "CLEARSYNC_APP_TOKEN, others see your command line",
    )
    parser.add_argument(
        "--insecure-http", action="store_true", help="send the credentials by plain http also to another machine"
    )


def remote(args: argparse.Namespace) -> Remote:
    """Flags over environment over default. Raises `BadRequest` where a value is missing or malformed."""
    url, insecure = checked_url(args.url or os.environ.get("CLEARSYNC_URL") or DEFAULT_URL), args.insecure_http
    check_exposure(url, insecure=insecure, remedy="--insecure-http")
    app_token = args.app_token or os.environ.get("CLEARSYNC_APP_TOKEN") or ""
    return replace(_with_credentials(args, url), insecure=insecure, app_token=app_token)


def _with_credentials(args: argparse.Namespace, url: str) -> Remote:
    if ticket := _ticket(args):
        return Remote(url, ticket=ticket)
    user = args.user or os.environ.get("CLEARSYNC_USER")
    if not user:
        raise BadRequest("user is missing: give --user or CLEARSYNC_USER, or a ticket in CLEARSYNC_TICKET")
    given = args.password or os.environ.get("CLEARSYNC_PASSWORD")
    if given:
        return Remote(url, user, given)
    if is_loopback(url):
        return Remote(url, user, DEV_PASSWORD, assumed=True)
    if not sys.stdin.isatty():
        raise BadRequest(MISSING)
    return Remote(url, user, _asked(user, url))


def _ticket(args: argparse.Namespace) -> str | None:
    """The ticket, where it is the way that was chosen. A flag of one way is over the environment of the other."""
    if args.user or args.password:
        if args.ticket:
            raise BadRequest("give --ticket, or --user and --password, and not both")
        return None
    if not args.ticket and os.environ.get("CLEARSYNC_TICKET") and os.environ.get("CLEARSYNC_PASSWORD"):
        raise BadRequest("CLEARSYNC_TICKET and CLEARSYNC_PASSWORD are both set, only one of them can be meant")
    ticket: str | None = args.ticket or os.environ.get("CLEARSYNC_TICKET")
    return ticket


def _asked(user: str, url: str) -> str:
    try:
        return getpass.getpass(f"password of {user} at {url}: ")
    except EOFError:
        raise BadRequest(MISSING) from None


def signed_in(where: Remote, act: Callable[[Remote], None]) -> None:
    """Do `act`. Where the password is refused that nobody gave, it is asked for, once, if there is a terminal.

    Raises what `act` does; refused credentials with a word on what to do about them.
    """
    try:
        act(where)
    except CredentialsRefused as error:
        if not (where.assumed and error.code == 401 and sys.stdin.isatty()):
            raise _advised(where, error) from None
    else:
        return
    where = replace(where, password=_asked(where.user, where.url), assumed=False)
    try:
        act(where)
    except CredentialsRefused as error:
        raise _advised(where, error) from None


def _advised(where: Remote, error: CredentialsRefused) -> CredentialsRefused:
    # The server has no more than its words to tell these apart by.
    if error.code == 401 and "SO-AppToken" in str(error):
        what = "the right one" if where.app_token else "the application's token"
        advice = f"give {what} in CLEARSYNC_APP_TOKEN, or with --app-token"
    elif where.ticket:
        advice = "make a ticket with `clearsync token issue` and give it in CLEARSYNC_TICKET"
    elif error.code == 401:
        if not where.assumed:
            return error
        advice = f"no password was given, {DEV_PASSWORD!r} was tried: give --password or CLEARSYNC_PASSWORD"
    elif "was forgotten" in str(error):
        advice = "what was kept of it is erased, start again to begin anew"
    else:
        advice = "start again, with the new password if it was changed"
    return CredentialsRefused(f"{error}; {advice}", error.code)

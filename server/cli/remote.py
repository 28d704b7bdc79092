"""What the commands that talk to a running server share: where it is, and who is asking."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from server.client import CredentialsRefused, is_loopback
from server.client import base_url as checked_url
from server.errors import BadRequest

DEFAULT_URL: Final = "http://127.0.0.1:8080"
DEV_PASSWORD: Final = "dev"
"""Where `serve --dev` listens any password does."""


class Remote(NamedTuple):
    """A server and the credentials for it. `assumed`: nobody gave the password, it is the one for development."""

    url: str
    user: str
    password: str
    assumed: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--url``, ``--user`` and ``--password``, each also from the environment."""
    parser.add_argument("--url", help=f"the server, with its base path (CLEARSYNC_URL; default {DEFAULT_URL})")
    parser.add_argument("--user", help="who you are there (CLEARSYNC_USER)")
    parser.add_argument(
        "--password",
        help="better in CLEARSYNC_PASSWORD, others see your command line; "
        "without it you are asked, and for this machine's own server it is 'dev'",
    )


def remote(args: argparse.Namespace) -> Remote:
    """Flags over environment over default. Raises `BadRequest` where a value is missing or malformed."""
    url = checked_url(args.url or os.environ.get("CLEARSYNC_URL") or DEFAULT_URL)
    user = args.user or os.environ.get("CLEARSYNC_USER")
    if not user:
        raise BadRequest("user is missing: give --user or CLEARSYNC_USER")
    given = args.password or os.environ.get("CLEARSYNC_PASSWORD")
    if given:
        return Remote(url, user, given)
    if is_loopback(url):
        return Remote(url, user, DEV_PASSWORD, assumed=True)
    if not sys.stdin.isatty():
        raise BadRequest("password is missing: give CLEARSYNC_PASSWORD, or run it in a terminal to be asked")
    return Remote(url, user, getpass.getpass(f"password of {user} at {url}: "))


@contextmanager
def hinting(where: Remote) -> Iterator[None]:
    """Refused credentials that nobody gave: says which were tried."""
    try:
        yield
    except CredentialsRefused as error:
        if not where.assumed:
            raise
        hint = f"no password was given, {DEV_PASSWORD!r} was tried: give --password or CLEARSYNC_PASSWORD"
        raise CredentialsRefused(f"{error}; {hint}", error.code) from None

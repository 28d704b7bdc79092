"""``clearsync bench``: a load on a running server, and what it takes."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

from server.cli.remote import DEFAULT_URL, Remote, add_arguments, remote, signed_in
from server.client import base_url, is_loopback
from server.client.credentials import authorization_of, checked_app_token, headers_of
from server.client.retry import printable
from server.errors import BadRequest
from server.loadtest import FIRST_ID, TYPE, Figures, Load, Login, counted, run_load, table

DEVICES: Final = 3
PUBLISHERS: Final = 16
RATE: Final = 100.0
"""Half of what a server takes of one agent where its settings are left alone."""
SECONDS: Final = 10.0


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its flags."""
    parser = subparsers.add_parser(
        "bench",
        help="put a load on a running server, and show what it takes",
        description="Put a load on a running server: devices listen, publishers post, every clear is waited for. "
        f"The events are really recorded for the agents who sign in: type {TYPE}, ids from {FIRST_ID} up. Ctrl-C ends "
        "it early. Exit code 0 where all devices were let in, every post was recorded and every clear came, else 1.",
    )
    add_arguments(parser)
    parser.add_argument("--users", metavar="FILE", help="many agents, a line name:password each, instead of --user")
    parser.add_argument(
        "--devices", metavar="N", type=int, default=DEVICES, help="that listen, of each agent (default %(default)s)"
    )
    parser.add_argument(
        "--publishers", metavar="N", type=int, default=PUBLISHERS, help="connections that post (default %(default)s)"
    )
    parser.add_argument(
        "--rate",
        metavar="N",
        type=float,
        default=RATE,
        help="posts a second in all, whatever the server does; 0 = each publisher posts as soon as it is answered "
        "(default %(default)g; a server takes 200 of an agent by default)",
    )
    parser.add_argument(
        "--seconds", metavar="S", type=float, default=SECONDS, help="how long is posted (default %(default)g)"
    )
    parser.add_argument("--events", metavar="N", type=int, default=1, help="of one post (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="all figures as one line of JSON")
    parser.add_argument("--yes", action="store_true", help="also a server that is not on this machine")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints a table, or with ``--json`` a line. 0 where all is well with the figures, else 1."""
    figures: list[Figures] = []

    def act(where: Remote) -> None:
        asked = _load(args, [dataclasses.replace(where, user=name, password=key) for name, key in users] or [where])
        _announce(asked)
        figures.append(_measured(asked))
        _show(asked, figures[0], as_json=args.json)

    _check_consent(args)
    users = _users(args)
    if users:
        args.user, args.password = users[0]
    signed_in(remote(args), act)
    return 0 if figures[0].ok else 1


def read_logins(path: Path) -> list[tuple[str, str]]:
    """Names and passwords of a file, a line ``name:password`` each, empty lines left out.

    Raises `BadRequest`, which quotes no line: it may be a password.
    """
    logins: list[tuple[str, str]] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                name, _, password = line.removesuffix("\n").partition(":")
                if name and password:
                    logins.append((name, password))
                elif line.strip():
                    raise BadRequest(f"users file {path}, line {number}: it must be name:password")
    except OSError as error:
        raise BadRequest(f"users file {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadRequest(f"users file {path} must be UTF-8") from None
    if not logins:
        raise BadRequest(f"users file {path} has no users, each is a line name:password")
    return logins


def _check_consent(args: argparse.Namespace) -> None:
    # Before a password is asked for.
    url = base_url(args.url or os.environ.get("CLEARSYNC_URL") or DEFAULT_URL)
    if not args.yes and not is_loopback(url):
        raise BadRequest(f"{url} is not on this machine, and all who use it feel a load: give --yes if you mean it")


def _users(args: argparse.Namespace) -> list[tuple[str, str]]:
    if not args.users:
        return []
    if args.user or args.password or args.ticket:
        raise BadRequest("give --users, or --user and --password, or --ticket, and only one of these")
    return read_logins(Path(args.users))


def _load(args: argparse.Namespace, signing_in: list[Remote]) -> Load:
    logins = tuple(map(_login, signing_in))
    return Load(signing_in[0].url, logins, args.devices, args.publishers, args.rate, args.seconds, args.events)


def _login(where: Remote) -> Login:
    user, password = (None, None) if where.ticket else (where.user, where.password)
    authorization = authorization_of(user, password, f"SoTicket {where.ticket}" if where.ticket else None)
    return Login(where.who, headers_of(authorization, checked_app_token(where.app_token) if where.app_token else None))


def _announce(load: Load) -> None:
    first, others = load.logins[0].name, len(load.logins) - 1
    whom = f"{first} and {counted(others, 'other')}" if others else first
    _say(f"posting to {load.url} for {load.seconds:g} s")
    _say(f"these events are really recorded, for {whom}: type {TYPE}, ids from {FIRST_ID} up")


def _measured(load: Load) -> Figures:
    progress = Progress(sys.stderr, load) if sys.stderr.isatty() else None
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_interruptible(load, progress))
    finally:
        if progress is not None:
            progress.close()


async def _interruptible(load: Load, progress: Callable[[Figures], None] | None) -> Figures:
    """The first Ctrl-C ends it in order, the second at once."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def interrupted() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        return await run_load(load, progress, stop)
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is there: with it the generator takes half of its time."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


class Progress:
    """One line of a terminal, written over and over, and gone at the end."""

    def __init__(self, out: TextIO, load: Load) -> None:
        self._out = out
        self._load = load

    def __call__(self, figures: Figures) -> None:
        """Show how far it is."""
        to_come = f"{figures.posts} posts, {figures.clears} clears, {figures.missing} to come"
        if figures.ended:
            text = f"ending: {to_come}; Ctrl-C ends it at once"
        elif figures.seconds:
            text = f"{figures.seconds:.0f} of {self._load.seconds:g} s: {to_come}"
        else:
            text = f"{figures.opened} of {counted(len(self._load.logins) * self._load.devices, 'device')} connected"
        self._write(text)

    def close(self) -> None:
        """Leave an empty line to who writes next."""
        self._write("")

    def _write(self, text: str) -> None:
        print(f"\r\x1b[K{text}", end="", file=self._out, flush=True)


def _show(load: Load, figures: Figures, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(dataclasses.asdict(figures) | {"ok": figures.ok}))
    else:
        print(table(load, figures))


def _say(text: str) -> None:
    print(printable(f"clearsync: {text}"), file=sys.stderr, flush=True)

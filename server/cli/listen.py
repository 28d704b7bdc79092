"""``clearsync listen``: be one device, and show what it is told."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import sys
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from server.cli.cursors import Remembered, state_dir
from server.cli.remote import Remote, add_arguments, remote, signed_in
from server.cli.screen import Lines, Screen
from server.client import Received, Welcome
from server.events import device_id

FORESEEN_S: Final = 3650 * 86_400.0
"""Credentials that are good for longer are not spoken of; a ticket's longest time."""


class Show(Protocol):
    """Where frames and the state of the connection go."""

    def frame(self, received: Received) -> None: ...

    def retrying(self, reason: str, wait_s: float) -> None: ...

    def note(self, text: str) -> None: ...


def default_device() -> str:
    """A stable id for this machine, made from its host name."""
    return f"cli-{re.sub(r'[^A-Za-z0-9._~:-]', '-', socket.gethostname())}"[:64]


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its flags."""
    parser = subparsers.add_parser(
        "listen",
        help="be one device of a user: show clears as they arrive",
        description="Be one device of a user: show clears as they arrive, also those that came while it was away. "
        "It goes on until Ctrl-C (exit code 0; 130 where it still asks for the password); exit code 1 where the server "
        "refuses it.",
    )
    add_arguments(parser)
    parser.add_argument(
        "--device", default=default_device(), help="the device's id, the same at every run (default %(default)s)"
    )
    parser.add_argument(
        "--cursor",
        help="where to go on from: 0 = all that is retained (default: where the last run with this server, "
        "user and device ended; now, the first time)",
    )
    parser.add_argument(
        "--json", action="store_true", help="one frame a line, as received; the default where stdout is no terminal"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Listen until Ctrl-C or a refusal. A reader that goes away (``| head``) is a normal end too."""
    device, where = device_id(args.device), remote(args)

    def act(where: Remote) -> None:
        # In here only: Ctrl-C where the password is asked for means no.
        try:
            asyncio.run(listen(where, device, args.cursor, _show(args, where)))
        except KeyboardInterrupt:  # its only ordinary end
            if sys.stdout.isatty():
                print()  # after the terminal's ^C

    try:
        signed_in(where, act)
    except BrokenPipeError:
        # Python flushes stdout once more at exit, and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _show(args: argparse.Namespace, where: Remote) -> Show:
    if args.json or not sys.stdout.isatty():
        return Lines(sys.stdout.buffer, sys.stderr, terminal=sys.stdout.isatty())
    return Screen(sys.stdout, f"{where.who}'s {args.device} at {where.url}", color="NO_COLOR" not in os.environ)


async def listen(where: Remote, device: str, cursor: str | None, show: Show) -> None:
    """Show every frame, and once when the credentials end; the cursor is remembered once a frame has been shown."""
    cursors = Remembered(state_dir(), show.note)
    told = False
    async with (
        where.client(agent=where.who, device=device, cursor=cursor, cursors=cursors, on_retry=show.retrying) as client,
        aclosing(client.frames()) as frames,
    ):
        async for received in frames:
            show.frame(received)
            if isinstance(received.frame, Welcome) and not told:
                told = True
                _tell_end(received.frame, show)


def _tell_end(welcome: Welcome, show: Show) -> None:
    if welcome.expires is not None and 0 <= welcome.expires <= FORESEEN_S:
        end = datetime.now(UTC) + timedelta(seconds=welcome.expires)
        show.note(f"the credentials expire at {end:%Y-%m-%dT%H:%M:%SZ}, in {welcome.expires:.0f} s")

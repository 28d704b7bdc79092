"""``clearsync doctor``: the real path to a server, checked from outside, and what to change where it fails."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import shutil
import sys
from typing import Final, TextIO

from server.cli.remote import DEFAULT_URL, Remote, add_arguments, remote
from server.client import base_url, is_loopback
from server.client.credentials import authorization_of, checked_app_token, headers_of
from server.client.retry import printable
from server.doctor import Finding, Login, Patient, Status, examine, row, summary
from server.errors import BadRequest

IDLE_S: Final = 75.0
"""Longer than the 60 s after which nginx, and many others, cut where they are left alone."""
ANSWER_S: Final = 5.0
LONGEST_S: Final = 86_400.0
NO_CREDENTIALS: Final = "no credentials were given: --user, or a ticket in CLEARSYNC_TICKET"
IN_THE_CLEAR: Final = (
    "credentials are not sent by plain http beyond this machine: --insecure-http where it can be trusted"
)


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its flags."""
    parser = subparsers.add_parser(
        "doctor",
        help="check the way to a running server, and say what to change",
        description="Check the way to a running server as devices and callers go it: reachable, TLS, ready, proxies, "
        "clocks, credentials, a round trip, event streams, idle connections. Without credentials it checks what can be "
        "seen without. The round trip really marks an event as handled, for who signs in: one that harms nobody, of "
        "type Unknown with a random negative id; --read-only leaves it out. Exit code 0 where nothing failed (there "
        "may be warnings), 1 where something did, 2 where it was not understood.",
    )
    add_arguments(parser)
    parser.add_argument(
        "--idle",
        metavar="SECONDS",
        type=float,
        default=IDLE_S,
        help="how long connections are left idle, to see whether they are cut (default %(default)g)",
    )
    parser.add_argument("--quick", action="store_true", help="without that")
    parser.add_argument("--read-only", action="store_true", help="mark nothing as handled: no round trip")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=ANSWER_S,
        help="how long to wait for whatever should come at once (default %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="all findings as one line of JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints a row for each finding as it is made, or with ``--json`` a line at the end. 1 where one failed, else 0."""
    try:
        _check_times(args)
        where, login = _login(args)
    except BadRequest as problem:
        print(f"clearsync: {problem}", file=sys.stderr)
        return 2
    findings = asyncio.run(_examined(args, where, login))
    succeeded = not any(finding.status is Status.FAIL for finding in findings)
    if args.json:
        found = [{"check": finding.check} | dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"url": where, "ok": succeeded, "findings": found}))
    else:
        print(f"\n{summary(findings)}")
    return 0 if succeeded else 1


def _check_times(args: argparse.Namespace) -> None:
    for name, value in (("idle", args.idle), ("timeout", args.timeout)):
        if not 0 < value <= LONGEST_S:
            raise BadRequest(f"{name} is {value:g}, it must be more than 0 and at most {LONGEST_S:g} seconds")


def _login(args: argparse.Namespace) -> tuple[str, Login]:
    """Where, and as whom: as other commands have it, but that nobody is somebody to be looked at, too."""
    url = base_url(args.url or os.environ.get("CLEARSYNC_URL") or DEFAULT_URL)
    if not any((args.user, args.password, args.ticket, *map(os.environ.get, ("CLEARSYNC_USER", "CLEARSYNC_TICKET")))):
        return url, Login(missing=NO_CREDENTIALS)
    if url.startswith("http:") and not is_loopback(url) and not args.insecure_http:
        return url, Login(missing=IN_THE_CLEAR)
    where = remote(args)
    return where.url, Login(where.who, _headers(where), assumed=where.assumed)


def _headers(where: Remote) -> dict[str, str]:
    user, password = (None, None) if where.ticket else (where.user, where.password)
    authorization = authorization_of(user, password, f"SoTicket {where.ticket}" if where.ticket else None)
    return headers_of(authorization, checked_app_token(where.app_token) if where.app_token else None)


async def _examined(args: argparse.Namespace, url: str, login: Login) -> list[Finding]:
    report = Report(None if args.json else sys.stdout, sys.stderr if sys.stderr.isatty() else None)
    patient = Patient(
        url,
        login,
        answer_s=args.timeout,
        idle_s=0.0 if args.quick else args.idle,
        read_only=args.read_only,
        insecure=args.insecure_http,
        progress=report.progress,
    )
    _say(f"checking {url} as {login.who or 'nobody'}")
    if not args.read_only and not login.missing:
        event = patient.event
        _say(f"{event.type.name} {event.id} will be marked as handled, which harms nobody; --read-only leaves it out")
    try:
        async with patient:
            return await examine(patient, report.tell)
    finally:
        report.progress("")


class Report:
    """Rows as findings are made, and on a terminal one line below them that says what is under way."""

    def __init__(self, out: TextIO | None, line: TextIO | None) -> None:
        self._out = out
        self._line = line

    def progress(self, text: str) -> None:
        """What is under way; empty: nothing any more."""
        if self._line is not None:
            print(f"\r\x1b[K{printable(text)}", end="", file=self._line, flush=True)

    def tell(self, finding: Finding) -> None:
        """One finding more."""
        if self._out is None:
            return
        self.progress("")
        terminal = self._out.isatty()
        width = shutil.get_terminal_size().columns if terminal else 120
        print(row(finding, width, color=terminal and "NO_COLOR" not in os.environ), file=self._out, flush=True)


def _say(text: str) -> None:
    print(printable(f"clearsync: {text}"), file=sys.stderr, flush=True)

"""``clearsync handled``: report that notifications were handled, as the CRM's own client does."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable

from server.cli.remote import Remote, add_arguments, remote, signed_in
from server.errors import ClearsyncError, InvalidEvents
from server.events import MAX_EVENTS, Event


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its flags."""
    parser = subparsers.add_parser(
        "handled",
        help="report handled notifications; they disappear from the user's other devices",
        description="Report handled notifications; they disappear from the user's other devices. "
        "Exit code 0 once all are recorded, 1 where they are not.",
    )
    add_arguments(parser)
    parser.add_argument(
        "--device", metavar="ORIGIN", help="the device that handled them: it gets no clear; without this all devices do"
    )
    parser.add_argument(
        "events",
        metavar="EVENT",
        nargs="+",
        help="Type:Id, like AppointmentCancelled:699 (any case) or 4:699; - reads them from stdin, one a line",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Parse all before anything is sent: a typing error in the last event reports none of them."""
    events = list(dict.fromkeys(parse_events(args.events, sys.stdin)))
    signed_in(remote(args), lambda where: asyncio.run(report(where, events, device=args.device)))
    print(f"handled {_counted(len(events))}")
    return 0


def parse_events(words: Iterable[str], stdin: Iterable[str]) -> Iterable[Event]:
    """Events from words, where ``-`` stands for the lines of `stdin`; raises `InvalidEvents` naming the word."""
    for word in words:
        if word == "-":
            yield from parse_events((line.strip() for line in stdin if line.strip()), ())
        else:
            yield _event(word)


def _event(word: str) -> Event:
    type_, colon, id_ = word.rpartition(":")
    if not colon:
        raise InvalidEvents(f'event is "{word}", it must be Type:Id, like AppointmentCancelled:699')
    try:
        return Event.parse(type_, id_)
    except InvalidEvents as error:
        raise InvalidEvents(f'event "{word}": {error}') from None


async def report(where: Remote, events: list[Event], *, device: str | None) -> None:
    """Send `events` in batches the server takes. On the way a failure says how many are recorded already."""
    async with where.client(device=device) as client:
        for start in range(0, len(events), MAX_EVENTS):
            try:
                await client.handled(events[start : start + MAX_EVENTS])
            except ClearsyncError:
                if start:
                    print(f"handled the first {start} of {_counted(len(events))}", file=sys.stderr)
                raise


def _counted(count: int) -> str:
    return f"{count} event" if count == 1 else f"{count} events"

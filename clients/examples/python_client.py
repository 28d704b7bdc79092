"""A device in Python: prints what is handled elsewhere, and reports what the command line names.

    .venv/bin/python -m clients.examples.python_client http://127.0.0.1:8080 ada                 listen
    .venv/bin/python -m clients.examples.python_client http://127.0.0.1:8080 ada NewTicket:12    report, and end

The password is taken from CLEARSYNC_PASSWORD; with `make serve` any will do.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from server.client import Clear, Client
from server.events import Event


async def main(url: str = "http://127.0.0.1:8080", user: str = "ada", *pairs: str) -> None:
    password = os.environ.get("CLEARSYNC_PASSWORD", "dev")
    device = f"python-{os.getpid()}"
    async with Client(url, user=user, password=password, device=device, on_live=on_live) as client:
        if pairs:
            await client.handled([Event.parse(*pair.split(":")) for pair in pairs])
            print("recorded")
            return
        async for frame in client.clears():
            if isinstance(frame, Clear):
                for event in frame.events:
                    print(f"dismiss {event.type}:{event.id}, handled at {event.at}", flush=True)
            else:
                print("fetch the list anew", flush=True)


def on_live() -> None:
    print("live", file=sys.stderr, flush=True)


def run(arguments: Sequence[str]) -> None:
    asyncio.run(main(*arguments))


if __name__ == "__main__":
    run(sys.argv[1:])

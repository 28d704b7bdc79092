"""A proxy of the kind that lets no websocket through, and all else."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, suppress
from typing import Final
from urllib.parse import urlsplit

from tests.conformance.listening import ended, listening

REFUSAL: Final = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def blocking(target: str) -> AbstractContextManager[str]:
    """The address of one that stands before the server at `target`."""
    there = urlsplit(target)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"\r\nupgrade:" in head.lower():
            writer.write(REFUSAL)
            return
        far_reader, far_writer = await asyncio.open_connection(there.hostname, there.port)
        try:
            far_writer.write(head)
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            await ended(far_writer, at_once=True)

    return listening(serve)

"""A device's event stream (SSE): what comes in, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import httpx2
import msgspec

from server.client.frames import Frame, Unreadable, read
from server.client.retry import printable
from server.doctor.replies import Reply

MEDIA: Final = "text/event-stream"


class Lines:
    """Text in any pieces to events: of each its data, or None for a comment. Pure."""

    def __init__(self) -> None:
        self._rest = ""
        self._data: list[str] = []

    def feed(self, text: str) -> Iterator[str | None]:
        """The events that `text` completes."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in (line.removesuffix("\r") for line in lines):
            name, _, value = line.partition(":")
            if line.startswith(":"):
                yield None
            elif name == "data":
                self._data.append(value.removeprefix(" "))
            elif not line and self._data:
                yield "\n".join(self._data)
                self._data.clear()


class Stream:
    """One that is open, or was answered with something else (`reply`)."""

    def __init__(self, reply: Reply, answer_s: float) -> None:
        self.reply = reply
        self.heartbeats: list[float] = []
        """When comments came (`time.monotonic`)."""
        self.ended_at: float | None = None
        self._answer_s = answer_s
        self._frames: asyncio.Queue[Frame | Exception] = asyncio.Queue()

    @property
    def is_stream(self) -> bool:
        """Whether it is one."""
        return self.reply.status == 200 and self.reply.headers.get("content-type", "").startswith(MEDIA)

    async def frame(self, within_s: float | None = None) -> Frame:
        """The next; TimeoutError where none comes in time, EOFError at the end of the stream, or what broke it."""
        async with asyncio.timeout(self._answer_s if within_s is None else within_s):
            found = await self._frames.get()
        if isinstance(found, Exception):
            self._frames.put_nowait(found)  # for whoever asks again
            raise found
        return found

    async def follow(self, response: httpx2.Response) -> None:
        """Read to the end, which is told as what `frame` raises."""
        try:
            end = await self._read(response)
        except (httpx2.HTTPError, httpx2.StreamError, Unreadable) as problem:
            end = problem
        self.ended_at = time.monotonic()
        self._frames.put_nowait(end)

    async def _read(self, response: httpx2.Response) -> Exception:
        lines = Lines()
        async for text in response.aiter_text():
            for data in lines.feed(text):
                if data is None:
                    self.heartbeats.append(time.monotonic())
                elif (close := _close(data)) is not None:
                    return EOFError(f"closed with {close.code} {printable(close.reason)}".rstrip())
                else:
                    self._frames.put_nowait(read(data).frame)
        return EOFError("it ended without a word")


class _Close(msgspec.Struct, tag_field="type", tag="close"):
    code: int = 0
    reason: str = ""


def _close(data: str) -> _Close | None:
    """The goodbye of a stream, None where this is another frame."""
    try:
        return msgspec.json.decode(data, type=_Close)
    except (msgspec.DecodeError, RecursionError):
        return None


@asynccontextmanager
async def streaming(
    http: httpx2.AsyncClient, url: str, headers: Mapping[str, str], answer_s: float
) -> AsyncIterator[Stream]:
    """Open an event stream at `url`, closed at the end. TimeoutError where not even the head of an answer comes."""
    timeout = httpx2.Timeout(answer_s, read=None)  # reading has limits of its own, by what is waited for
    request = http.build_request("GET", url, headers={"Accept": MEDIA, **headers}, timeout=timeout)
    async with asyncio.timeout(answer_s):
        response = await http.send(request, stream=True)
    try:
        stream = Stream(Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()}), answer_s)
        if stream.is_stream:
            async with _followed(stream, response):
                yield stream
        else:
            async with asyncio.timeout(answer_s):
                body = await response.aread()
            yield Stream(Reply(response.status_code, stream.reply.headers, body), answer_s)
    finally:
        await response.aclose()


@asynccontextmanager
async def _followed(stream: Stream, response: httpx2.Response) -> AsyncIterator[None]:
    """Read meanwhile. Not a task group: it would wrap what the caller raises."""
    reading = asyncio.create_task(stream.follow(response))
    try:
        yield
    finally:
        reading.cancel()
        await asyncio.wait({reading})
        if not reading.cancelled():
            reading.result()

"""The driver of the Python client; see `clients/conformance.md`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from server.client import Clear, Client, ClientError, CursorKey, NotConnected, Timing
from server.client.retry import Backoff
from server.errors import ClearsyncError
from server.events import Event

Command = dict[str, Any]
CURSORS: dict[CursorKey, str] = {}
"""Of all clients: the store of an app is one."""


def say(**said: Any) -> None:
    """One line."""
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


class NotApplied(Exception):
    """The app failed."""


class App:
    """An app around one client. It applies what comes at once, or, told to `hold`, when the suite says so."""

    def __init__(self, command: Command) -> None:
        self._name = command["client"]
        self._command = command
        self._hold = command.get("hold", False)
        self._outcomes: asyncio.Queue[bool] = asyncio.Queue()
        self._authorizations: list[str] = []
        self._client: Client | None = None
        self._closed = False
        self._running = asyncio.ensure_future(self._run())

    def say(self, on: str, **more: Any) -> None:
        """An event of this client."""
        say(client=self._name, on=on, **more)

    # The store of cursors.

    def get(self, key: CursorKey) -> str | None:
        return CURSORS.get(key)

    def set(self, key: CursorKey, cursor: str) -> None:
        CURSORS[key] = cursor
        self.say("stored", key="\n".join(key), cursor=cursor)

    async def _ask(self) -> str:
        self.say("asked")
        return self._authorizations.pop(0) if len(self._authorizations) > 1 else self._authorizations[0]

    def _made(self) -> Client:
        command, timing = self._command, self._command.get("timing", {})
        credentials: Any = command["credentials"]
        options: dict[str, Any] = {}
        if isinstance(credentials, list):
            self._authorizations = [given["authorization"] for given in credentials]
            options["authorization"] = self._ask
        else:
            options |= credentials
        ms = {
            "backoffBaseMs": "backoff_base_s",
            "backoffCapMs": "backoff_cap_s",
            "pingMarginMs": "ping_margin_s",
            "answerMs": "answer_s",
        }
        seconds = {ms[name]: value / 1000 for name, value in timing.items()}
        if "random" in command:
            options["random"] = lambda: float(command["random"])
        return Client(
            command["url"],
            agent=command["agent"],
            device=command["device"],
            cursor=command.get("cursor"),
            cursors=self,
            on_live=lambda: self.say("state", state="live"),
            on_retry=lambda reason, s: self.say("state", state="waiting", reason=reason, inMs=s * 1000),
            # Until it is recorded, as the others do.
            timing=Timing(**seconds, close_s=0.2, handled_tries=1_000_000, handled_longest_wait_s=1e6),
            **options,
        )

    async def _run(self) -> None:
        timing = {"backoffBaseMs": 500, "backoffCapMs": 30_000} | self._command.get("timing", {})
        backoff = Backoff(timing["backoffBaseMs"] / 1000, timing["backoffCapMs"] / 1000, lambda: 1)
        try:
            self._client = self._made()
            while True:
                try:
                    await self._apply_all(self._client)
                except NotApplied:
                    if self._closed:
                        return
                    wait_s = backoff.next_s()
                    self.say("state", state="waiting", reason="not applied", inMs=wait_s * 1000)
                    await asyncio.sleep(wait_s)
                else:
                    return
        except ClearsyncError as error:
            self.say("state", state="stopped", reason=str(error), code=getattr(error, "code", None))

    async def _apply_all(self, client: Client) -> None:
        async for change in client.clears():
            if isinstance(change, Clear):
                events = [{"Type": event.type, "Id": event.id, "At": event.at} for event in change.events]
                self.say("clear", cursor=change.cursor, at=change.at, events=events)
            else:
                self.say("reset", cursor=change.cursor)
            if self._hold and not await self._outcomes.get():
                raise NotApplied

    async def do(self, command: Command) -> Any:
        """A command to this client."""
        if command["do"] == "close":
            return await self._close()
        if self._client is None:
            raise NotConnected("there is no client")
        match command["do"]:
            case "applied":
                self._outcomes.put_nowait(command["ok"])
            case "handled":
                await self._client.handled(_events(command))
            case "check":
                found = await self._client.check(_events(command))
                return [{"Type": event.type, "Id": event.id, "At": event.at} for event in found]
            case "shouldDismiss":
                [event] = _events({"events": [command["event"]]})
                return self._client.should_dismiss(event, command.get("time"))
            case "now":
                return self._client.now()
            case other:
                raise NotConnected(f"no such command: {other}")
        return None

    async def _close(self) -> None:
        self._closed = True
        if self._client is not None:
            await self._client.close()
        self._outcomes.put_nowait(False)  # the app may be busy
        async with asyncio.timeout(5):
            await self._running


def _events(command: Command) -> list[Event]:
    return [Event.parse(event["Type"], event["Id"]) for event in command["events"]]


async def answer(app: App, command: Command) -> None:
    """Do a command and say how it went."""
    id_ = command["id"]
    try:
        say(id=id_, ok=await app.do(command))
    except ClientError as error:
        say(id=id_, error={"message": str(error), "code": error.code})
    except (ClearsyncError, KeyError, ValueError) as error:
        say(id=id_, error={"message": str(error)})


async def main() -> None:
    """Until nobody talks to us any more."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    apps: dict[str, App] = {}
    say(on="ready", name="python", transport="websocket", can=[])
    async with asyncio.TaskGroup() as tasks:
        while line := await lines.readline():
            command: Command = json.loads(line)
            if command["do"] == "connect":
                apps[command["client"]] = App(command)
                await asyncio.sleep(0)  # it has begun
                say(id=command["id"])
            else:
                tasks.create_task(answer(apps[command["client"]], command))


if __name__ == "__main__":
    asyncio.run(main())

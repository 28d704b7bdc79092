"""The JavaScript client in a page of Chromium: JSON lines on stdin and stdout, passed on to `js_driver.mjs` there.

The page comes from a port of its own, which is given as the argument; the servers have to allow that origin.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.browser import chromium
from tests.running import ROOT

PAGE: Final = "tests/conformance/drivers/page.html"
BEGIN: Final = """async () => {
  const { connect } = await import("/clients/js/clearsync.js");
  const { driver } = await import("/tests/conformance/drivers/js_driver.mjs");
  globalThis.act = driver(connect, { transport: "websocket" }, (said) => globalThis.say(JSON.stringify(said)));
}"""
CAN: Final = ["wake", "fallback"]
WAKE: Final = "() => dispatchEvent(new Event('online'))"


class _Files(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def say(text: str) -> None:
    """One line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def main(port: int) -> None:
    """Until nobody talks to us any more."""
    path = chromium.find()
    assert path is not None
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with chromium.browser(path) as browser:
        page = await browser.new_page()
        await page.expose_function("say", say)
        await page.goto(f"http://127.0.0.1:{port}/{PAGE}")
        await page.evaluate(BEGIN)
        say(json.dumps({"on": "ready", "name": "chromium", "transport": "websocket", "can": CAN}))
        async with asyncio.TaskGroup() as tasks:
            while line := await lines.readline():
                command = json.loads(line)
                if command["do"] == "wake":  # as the browser does it
                    await page.evaluate(WAKE)
                    say(json.dumps({"id": command["id"], "ok": None}))
                else:
                    tasks.create_task(page.evaluate("(command) => void act(command)", command))


if __name__ == "__main__":
    files = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), partial(_Files, directory=str(ROOT)))
    threading.Thread(target=files.serve_forever, daemon=True).start()
    try:
        asyncio.run(main(files.server_port))
    finally:
        files.shutdown()
        files.server_close()

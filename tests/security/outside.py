"""What stands outside and is asked by the server: a CRM, or an issuer with its keys. It counts, and answers as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Said = tuple[int, dict[str, str], bytes]


@dataclass
class Outside:
    """`requests`: path and headers (names in lower case) of each. `reply` may block; `opened` lets `slow` go on."""

    port: int = 0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    reply: Callable[[dict[str, str]], Said] = lambda headers: (404, {}, b"")
    opened: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1/User/currentPrincipal"

    def slow(self, headers: dict[str, str]) -> Said:
        """Says nothing until `opened`."""
        self.opened.wait(20)
        return 503, {}, b""


def says(status: int, body: object = b"", **headers: str) -> Callable[[dict[str, str]], Said]:
    """The same answer to everybody."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda _: (status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


@contextmanager
def outside() -> Iterator[Outside]:
    """One that runs; it ends with the context."""
    here = Outside()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            here.requests.append((self.path, headers))
            status, more, body = here.reply(headers)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: Any) -> None:
            pass  # the other side left

    server = Server(("127.0.0.1", 0), Handler)
    here.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield here
    finally:
        here.opened.set()
        server.shutdown()
        server.server_close()
        thread.join(5)

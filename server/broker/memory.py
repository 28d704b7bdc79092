"""A store in this process, for unit tests: fakeredis, spoken to over TCP by the same links as a real one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from server.errors import StoreError


@contextmanager
def memory_store() -> Iterator[str]:
    """The URL of a store that lives as long as this context; `StoreError` where fakeredis is not installed."""
    try:
        from fakeredis import TcpFakeServer
    except ImportError:
        raise StoreError("store.url memory needs the package fakeredis[lua]") from None

    server = TcpFakeServer(("127.0.0.1", 0), server_type="valkey")
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        host, port = server.server_address[:2]
        yield f"redis://{host!s}:{port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""What a load wants of its own process."""

from __future__ import annotations

import contextlib
import gc
import resource
from collections.abc import Iterator
from typing import Final

from server.errors import BadRequest

_OTHERS: Final = 50
"""Files besides connections."""


def allow_files(connections: int) -> None:
    """As many open files as so many connections need. Raises `BadRequest` where the system does not allow them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems have no limit to give, and refuse this one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft != resource.RLIM_INFINITY and soft < connections + _OTHERS:
        raise BadRequest(
            f"the load needs {connections} connections, and this process may open {soft} files (ulimit -n)"
        )


@contextlib.contextmanager
def calm_memory() -> Iterator[None]:
    """Meanwhile, what is there now is not looked at by the collector: with thousands of devices that takes longer than
    what is measured."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()

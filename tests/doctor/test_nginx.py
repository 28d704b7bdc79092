"""A real nginx: on config/nginx.conf all is well, and each line of it that is missing is named."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from server.doctor import Status
from tests.doctor.conftest import bad, look, the_failure
from tests.nginx import find_nginx, nginx, replaced
from tests.running import Running

Nginx = Callable[..., AbstractContextManager[str]]
SYNC = r"(location ~ /api/v1/sync\$ \{\n)"

GZIP = "gzip on; gzip_proxied any; gzip_types text/event-stream;"
"""With it nginx 1.22 holds frames back where it buffers; without, it passes on what comes in pieces even then."""


@pytest.fixture
def before(running: Running) -> Iterator[Nginx]:
    """`with before(changed) as url:` is an nginx before the server. Without one it is skipped; in CI it fails."""
    path = find_nginx()
    if path is None:
        assert not os.environ.get("CI"), "no nginx here"
        pytest.skip("no nginx here")
    with TemporaryDirectory() as folder:  # not pytest's: its workers, which are somebody else, have to get there
        yield partial(nginx, path, [running.port], Path(folder) / "nginx")


def with_line(line: str) -> Callable[[str], str]:
    """A line more where devices connect."""
    return partial(replaced, SYNC, rf"\1{line}\n")


def without(setting: str) -> Callable[[str], str]:
    """A line less."""
    return partial(replaced, rf"(?m)^ *{re.escape(setting)} .*\n", "")


def instead(setting: str, line: str) -> Callable[[str], str]:
    """A line that is another."""
    return partial(replaced, rf"(?m)^ *{re.escape(setting)} .*;$", line.replace("\\", r"\\"))


async def test_the_sample_is_well(before: Nginx) -> None:
    with before() as url:
        assert bad(await look(url, idle_s=0.3)) == {}


FAIL, WARN = Status.FAIL, Status.WARN
SHORT = partial(replaced, r"(proxy_read_timeout) 75s", r"\1 500ms")


@pytest.mark.parametrize(
    ("changed", "check", "status", "seen", "cure"),
    [
        (without("proxy_set_header Upgrade"), "upgrade", FAIL, "without its Upgrade", "Upgrade $http_upgrade"),
        (without("proxy_set_header Connection"), "upgrade", FAIL, "without its Upgrade", "proxy_http_version"),
        (instead("proxy_set_header Host", "proxy_set_header Host $host;"), "origin", FAIL, "403", "$http_host"),
        (instead("client_max_body_size", "client_max_body_size 100k;"), "body", FAIL, "413", "client_max_body_size"),
        (with_line(f"proxy_ignore_headers X-Accel-Buffering; {GZIP}"), "event stream", FAIL, "held back", "gzip_types"),
        (with_line(GZIP), "event stream", WARN, "compressed (gzip)", "gzip_types"),
        (SHORT, "idle", FAIL, "was cut after", "proxy_read_timeout 75s"),
    ],
    ids=["Upgrade", "Connection", "Host", "body", "buffering", "gzip", "timeout"],
)
async def test_a_line_is_missing(
    before: Nginx, changed: Callable[[str], str], check: str, status: Status, seen: str, cure: str
) -> None:
    with before(changed) as url:
        finding = await the_failure(url, check, idle_s=1.5, in_vain=True)
    assert (finding.check, finding.status) == (check, status)
    assert seen in finding.seen
    assert cure in finding.cure

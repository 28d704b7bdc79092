"""What the pages are tried against."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.docs.reader import VENDOR
from tests.running import Running, serving


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """What `make serve` starts, one for all pages."""
    with serving("--dev", folder=tmp_path_factory.mktemp("serve"), env={"CLEARSYNC_SERVER__DRAIN_S": "0"}) as started:
        yield started


@pytest.fixture(scope="session")
def tools() -> None:
    """The programs that the pages use; without them their tests are skipped, in CI they fail."""
    missing = [name for name in ("bash", "curl", "node", "openssl") if not shutil.which(name)]
    missing += [] if VENDOR.is_dir() else ["the vendor's client, which `make test` installs"]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("not installed: " + ", ".join(missing))

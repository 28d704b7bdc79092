"""`make test` installs the vendor's client. Without it, or without Node.js, its tests are skipped; in CI they fail."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.vendor.vendor import HERE, Vendor


@pytest.fixture(scope="session")
def vendor() -> Vendor:
    """The vendor's client, ready to run."""
    node = shutil.which("node")
    missing = (
        "Node.js is not on PATH"
        if not node
        else "the vendor's client is not installed, `make test` does it"
        if not (HERE / "node_modules" / "@superoffice" / "webapi").is_dir()
        else ""
    )
    if node and not missing:
        return Vendor(node)
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)

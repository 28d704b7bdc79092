"""The JavaScript client: its own tests under Node.js, its size, its version and its types. Without Node.js the first is
skipped; in CI it fails."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from server import __version__

CLIENT: Final = Path(__file__).parents[2] / "clients" / "js"
PACKAGE: Final = json.loads((CLIENT / "package.json").read_text(encoding="utf-8"))
MODULES: Final = sorted(path.name for path in CLIENT.glob("*.js"))
MAX_BYTES: Final = 5120
"""Gzipped, of the code itself: without comments, and with blanks and line ends in a row as one."""
MAX_BYTES_AS_SHIPPED: Final = 6500


@pytest.fixture(scope="session")
def node() -> str:
    found = shutil.which("node")
    if found:
        return found
    if os.environ.get("CI"):
        pytest.fail("Node.js is not on PATH")
    pytest.skip("Node.js is not on PATH")


def test_its_own_tests_pass(node: str) -> None:
    """All of `test/*.test.mjs`, against gateways that do what a test says."""
    files = sorted(str(path) for path in (CLIENT / "test").glob("*.test.mjs"))
    # they wait more than they compute
    command = [node, "--test", "--test-reporter=spec", f"--test-concurrency={len(files)}", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"tests (\d+)", done.stdout)[0]) >= len(files)


def test_what_a_page_loads_is_small() -> None:
    """It imports nothing, so this one file is all."""
    shipped = (CLIENT / "clearsync.js").read_text(encoding="utf-8")
    assert not re.search(r"^import|\bimport\(|\brequire\(", shipped, re.MULTILINE)
    code = re.sub(r"^\s*(/\*\*|\*).*\n|\s// .*$", "", shipped, flags=re.MULTILINE)
    assert "*/" not in code
    assert len(gzip.compress(re.sub(r"\s+", " ", code).encode(), 9)) < MAX_BYTES
    assert len(gzip.compress(shipped.encode(), 9)) < MAX_BYTES_AS_SHIPPED


def test_it_has_the_version_of_the_server_and_needs_nothing() -> None:
    assert PACKAGE["version"] == __version__
    assert not {"dependencies", "devDependencies", "peerDependencies"} & PACKAGE.keys()


def test_all_that_is_exported_is_shipped() -> None:
    files = {path.removeprefix("./") for export in PACKAGE["exports"].values() for path in export.values()}
    assert files == set(PACKAGE["files"])
    assert {name for name in files if name.endswith(".js")} == set(MODULES)
    for name in files:
        assert (CLIENT / name).is_file(), name


@pytest.mark.parametrize("name", MODULES)
def test_the_types_name_what_there_is(name: str) -> None:
    code = (CLIENT / name).read_text(encoding="utf-8")
    types = (CLIENT / name.replace(".js", ".d.ts")).read_text(encoding="utf-8")
    exported = re.findall(r"^export (?:async )?(?:function|const|class) (\w+)", code, re.MULTILINE)
    assert exported
    assert exported == re.findall(r"^export (?:function|const|class) (\w+)", types, re.MULTILINE)


def test_the_types_and_the_readme_name_every_option_and_method() -> None:
    code = (CLIENT / "clearsync.js").read_text(encoding="utf-8")
    types = (CLIENT / "clearsync.d.ts").read_text(encoding="utf-8")
    readme = (CLIENT / "README.md").read_text(encoding="utf-8")
    timing = re.findall(r"^  (\w+): [\de]+,$", code, re.MULTILINE)
    methods = re.findall(
        r"^    (?:async )?(\w+)(?:\(.*\) \{|: \(.*\) =>|: .*,|,)$", code.partition("const self = {")[2], re.MULTILINE
    )
    options = re.findall(
        r"^  (\w+)\??[:(]", types.partition("export interface Options")[2].partition("\n}")[0], re.MULTILINE
    )
    assert {"backoffBaseMs", "tombstones"} <= set(timing)
    assert {"handled", "close", "wake", "cursor", "now"} <= set(methods)
    assert {"url", "onClear", "transport"} <= set(options)
    for name in timing + methods:
        assert re.search(rf"^  (readonly )?{name}\??[:(]", types, re.MULTILINE), f"clearsync.d.ts does not have {name}"
    for name in options + timing + methods:
        assert f"`{name}" in readme, f"README.md does not name {name}"

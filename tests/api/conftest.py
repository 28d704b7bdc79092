"""A server for a module's tests, and an agent for each of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.running import RealStore, Running, serving

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A whole `serve --dev` with one worker."""
    with serving("--dev", folder=tmp_path_factory.mktemp("serve")) as running:
        yield running


@pytest.fixture
def user() -> str:
    """The name of an agent that no other test uses."""
    return f"agent-{next(_numbers)}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStore]:
    """A store for a module's tests to hurt; each leaves it well."""
    store = RealStore(tmp_path_factory.mktemp("store"))
    try:
        store.start()
        yield store
    finally:
        store.close()

"""What more than one room's tests need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.running import RealStore, Running, client, serving

Serve = Callable[..., AbstractContextManager[Running]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """`with serve("--dev", workers=2) as running:` is a whole service; see `running.serving` for what it takes."""
    return partial(serving, folder=tmp_path)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real store, one for all tests; ask for `store_url` to find it empty."""
    store = RealStore(tmp_path_factory.mktemp("valkey"))
    try:
        store.start()
        yield store.url
    finally:
        store.close()


@pytest.fixture
def store_url(valkey: str) -> str:
    """The URL of a real store that is empty."""
    with client(valkey) as store:
        store.flushall()
    return valkey


@pytest.fixture
def real_store(tmp_path: Path) -> Iterator[RealStore]:
    """A real store of this test's own, started, for tests that hurt it."""
    store = RealStore(tmp_path / "store")
    try:
        store.start()
        yield store
    finally:
        store.close()

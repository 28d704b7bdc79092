"""What a load wants of its process: files, and no pauses."""

from __future__ import annotations

import gc
import resource

import pytest

from server.errors import BadRequest
from server.loadtest.process import allow_files, calm_memory


class Limits:
    """Stands for the system's, so that the tests' own stay."""

    def __init__(self, soft: int, hard: int, *, fixed: bool = False) -> None:
        self.now = (soft, hard)
        self._fixed = fixed

    def getrlimit(self, what: int) -> tuple[int, int]:
        assert what == resource.RLIMIT_NOFILE
        return self.now

    def setrlimit(self, what: int, limits: tuple[int, int]) -> None:
        if self._fixed:
            raise ValueError("not allowed to raise maximum limit")
        self.now = limits


@pytest.fixture
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Limits:
    limits: Limits = request.param
    monkeypatch.setattr(resource, "getrlimit", limits.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", limits.setrlimit)
    return limits


@pytest.mark.parametrize("system", [Limits(100, 4096)], indirect=True)
def test_the_limit_is_raised_as_far_as_it_may_be(system: Limits) -> None:
    allow_files(4000)
    assert system.now == (4096, 4096)


@pytest.mark.parametrize("system", [Limits(100, 4096), Limits(4096, resource.RLIM_INFINITY, fixed=True)], indirect=True)
def test_more_than_may_be_is_refused_at_once(system: Limits) -> None:
    with pytest.raises(BadRequest, match="needs 4090 connections, and this process may open 4096 files"):
        allow_files(4090)


@pytest.mark.parametrize("system", [Limits(100, resource.RLIM_INFINITY)], indirect=True)
def test_no_limit_is_enough(system: Limits) -> None:
    allow_files(10**6)


def test_the_collector_leaves_alone_what_was_there() -> None:
    with calm_memory():
        assert gc.get_freeze_count() > 1000
    assert gc.get_freeze_count() == 0

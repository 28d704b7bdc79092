"""The stages of a clear, measured for a moment."""

from __future__ import annotations

import pytest

from bench import stages


async def test_every_stage_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "TURNS", 2)
    monkeypatch.setattr(stages, "ROUNDS", 2)
    found = await stages.measured()
    assert list(found) == ["a head as before", "a new head"]
    for figures in found.values():
        assert len(figures) == len(stages.STAGES)
        assert all(0 < figure < 100_000 for figure in figures)
    [known, new] = stages.rows(found)
    assert len(known) == len(new) == len(stages.STAGES) + 2

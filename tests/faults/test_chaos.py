"""The chaos drill in short, with a seed that is always the same: `make chaos` runs it for longer."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.faults.chaos import chaos
from tests.faults.drill import show
from tests.faults.plan import TRACKS, in_order, plan

pytestmark = pytest.mark.faults
SEED = 9
SECONDS = 12.0


def test_a_plan_repeats_from_its_seed() -> None:
    assert plan(SEED, 300) == plan(SEED, 300)
    assert plan(SEED, 300) != plan(SEED + 1, 300)


@pytest.mark.parametrize("seed", range(20))
def test_five_minutes_have_every_kind_of_fault_and_one_of_a_track_at_a_time(seed: int) -> None:
    faults = plan(seed, 300)
    assert {fault.kind for fault in in_order(faults)} == {kind for _, kinds in TRACKS.values() for kind in kinds}
    for track in faults.values():
        assert all(before.end_s <= after.at_s for before, after in pairwise(track))
        assert track[-1].end_s <= 300


async def test_nothing_is_lost_when_everything_goes_wrong_at_once() -> None:
    result = await chaos(seed=SEED, seconds=SECONDS, devices=60, agents=20, workers=2, per_s=100, within_s=15)
    show(f"chaos, seed {SEED}", result.rows)
    result.check()

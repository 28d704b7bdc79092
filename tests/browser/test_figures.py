"""The arithmetic of Watch it, in the browser: what is made of two polls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.browser.desk import Desk

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALL = """async ([earlier, later, what, ...rest]) => {
    const figures = await import('./figures.js')
    return figures[what](new figures.Poll(earlier), new figures.Poll(later), [0, 1], ...rest)
}"""
BOUNDS = ("0.001", "0.002", "0.01", "+Inf")


def poll(now: int, *workers: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the overview says; of each worker a counter `n` and the counts of buckets `live`, None is silent."""
    told = []
    for number, worker in enumerate(workers):
        figures = None if worker is None else [{"name": "n", "labels": {"result": "ok"}, "value": worker.get("n", 0)}]
        for kind in ("live", "catch_up"):
            for bound, count in zip(BOUNDS, (worker or {}).get(kind, (0, 0, 0, 0)), strict=True):
                sample = {"name": "s_bucket", "labels": {"kind": kind, "le": bound}, "value": count}
                figures = figures if figures is None else [*figures, sample]
        told.append({"worker": number, "ready": True, "figures": figures})
    return {"now": now, "version": "1", "ready": True, "workers": told}


async def test_rates_and_quantiles(desk: Desk) -> None:
    page = await desk.open(sign_in=False)

    async def rate(earlier: dict[str, Any], later: dict[str, Any]) -> Any:
        return await page.evaluate(CALL, [earlier, later, "rate", "n"])

    async def quantile(earlier: dict[str, Any], later: dict[str, Any], part: float) -> Any:
        return await page.evaluate(CALL, [earlier, later, "quantile", "s", part, {"kind": "live"}])

    assert await rate(poll(0, {"n": 10}, {"n": 100}), poll(2000, {"n": 14}, {"n": 106})) == 5
    assert await rate(poll(0, {"n": 10}, {"n": 100}), poll(2000, {"n": 14}, {"n": 6})) == 5, "the second began anew"
    assert await rate(poll(0, {"n": 10}, None), poll(2000, {"n": 14}, {"n": 6})) == 2, "what it counted before is old"
    assert await rate(poll(0, None, None), poll(2000, {"n": 14}, {"n": 6})) is None
    assert await rate(poll(5, {"n": 1}), poll(5, {"n": 1})) is None

    before = poll(0, {"live": (1, 1, 1, 1), "catch_up": (0, 0, 0, 50)}, {"live": (0, 0, 4, 4)})
    after = poll(2000, {"live": (5, 9, 9, 9), "catch_up": (0, 0, 0, 99)}, {"live": (0, 0, 6, 6)})
    assert await quantile(before, after, 0.4) == pytest.approx(0.001)
    assert await quantile(before, after, 0.6) == pytest.approx(0.0015)
    assert await quantile(before, after, 0.9) == pytest.approx(0.006)
    assert await quantile(before, before, 0.5) is None
    assert await quantile(poll(0, {}), poll(2000, {"live": (0, 0, 0, 3)}), 0.5) == 0.01, "no more is known"

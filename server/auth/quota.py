"""How much one agent, and one address, may ask of this worker."""

from __future__ import annotations

import time
from collections.abc import Callable

from server.errors import TooManyRequests
from server.events import AgentId
from server.limits import Rate
from server.metrics import Metrics
from server.settings.schema import Limits


class Quota:
    """Raises `TooManyRequests` over the rates of the settings; where they are 0 it costs nothing."""

    def __init__(self, limits: Limits, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._agents = _rate(limits.requests_per_agent_s, limits.requests_per_agent_burst)
        self._addresses = _rate(limits.requests_per_address_s, limits.requests_per_address_burst)
        self._metrics = metrics
        self._clock = clock

    def of_agent(self, agent: AgentId) -> None:
        """One request more of an agent that is known by now."""
        if self._agents is not None and (wait := self._agents.take(agent.tag, self._clock())):
            self._metrics.limited_total["agent_requests",] += 1
            raise TooManyRequests("this agent sends more requests than it may", wait)

    def of_address(self, address: Callable[[], str]) -> None:
        """One request more from an address, before anything else is known of it."""
        if self._addresses is not None and (wait := self._addresses.take(address(), self._clock())):
            self._metrics.limited_total["address_requests",] += 1
            raise TooManyRequests("this address sends more requests than it may", wait)


def _rate(per_s: int, burst: int) -> Rate | None:
    return Rate(per_s, burst) if per_s else None

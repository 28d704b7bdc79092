"""How much one agent, and one address, may ask of this worker."""

from __future__ import annotations

import time
from collections.abc import Callable

from server.auth.address import network_of
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
        self._web_sessions = _rate(limits.web_sessions_per_agent_minute / 60, limits.web_sessions_per_agent_minute)
        self._limits = limits
        self._metrics = metrics
        self._clock = clock

    def of_agent(self, agent: AgentId) -> None:
        """One request more of an agent that is known by now."""
        if self._agents is not None and (wait := self._agents.take(agent.tag, self._clock())):
            self._metrics.limited_total["agent_requests",] += 1
            raise TooManyRequests(
                f"this agent sends more than {self._limits.requests_per_agent_s} requests a second", wait
            )

    def now(self) -> float:
        """For `admits` and `count`."""
        return self._clock()

    def admits(self, agent: AgentId, network: str, now: float) -> bool:
        """Whether `of_address` and `of_agent` would let a request pass. Nothing is taken before `count`."""
        if self._agents is not None and self._agents.wait(agent.tag, now):
            return False
        return self._addresses is None or not self._addresses.wait(network, now)

    def count(self, agent: AgentId, network: str, now: float) -> None:
        """One request more, which was admitted."""
        if self._agents is not None:
            self._agents.charge(agent.tag, now)
        if self._addresses is not None:
            self._addresses.charge(network, now)

    def charge(self, agent: AgentId, requests: int) -> None:
        """What an agent asked for has cost as much as so many requests more."""
        if self._agents is not None:
            for _ in range(requests):
                self._agents.charge(agent.tag, self._clock())

    def of_web_sessions(self, agent: AgentId) -> None:
        """One browser more that signs in: the store keeps it for hours."""
        if self._web_sessions is not None and (wait := self._web_sessions.take(agent.tag, self._clock())):
            self._metrics.limited_total["web_sessions",] += 1
            raise TooManyRequests(
                f"this agent signs in more than {self._limits.web_sessions_per_agent_minute} browsers a minute", wait
            )

    def of_address(self, address: Callable[[], str]) -> None:
        """One request more from an address, before anything else is known of it."""
        if self._addresses is not None and (wait := self._addresses.take(network_of(address()), self._clock())):
            self._metrics.limited_total["address_requests",] += 1
            raise TooManyRequests(
                f"this address sends more than {self._limits.requests_per_address_s} requests a second", wait
            )


def _rate(per_s: float, burst: int) -> Rate | None:
    return Rate(per_s, burst) if per_s else None

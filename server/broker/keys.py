"""What keys and channels are called, and what is said on the control channel. `prefix` is `store.prefix`."""

from __future__ import annotations

from server.events import AgentId


def agent_key(prefix: str, agent: AgentId) -> bytes:
    """An agent's handled state; its channel has the same name."""
    return f"{prefix}:{{{agent.tag}}}".encode()


def sessions_key(prefix: str, agent: AgentId) -> bytes:
    """The leases of an agent's sessions, in the same slot of a cluster."""
    return agent_key(prefix, agent) + b":sessions"


def vault_key(prefix: str, name: str) -> bytes:
    """What is kept for authentication under `name`, which is ``<kind>:<digest>``."""
    return f"{prefix}:{name}".encode()


def control_channel(prefix: str) -> bytes:
    """The channel that every worker listens to."""
    return f"{prefix}:control".encode()


def revoked(name: str) -> bytes:
    """Says that what was kept under `name` counts no more."""
    return f"revoked {name}".encode()


def forgotten(agent: AgentId) -> bytes:
    """Says that everything of an agent was erased."""
    return f"forgotten {agent.tag}".encode()

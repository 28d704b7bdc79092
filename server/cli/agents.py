"""How an agent is written in a command: ``TENANT/NAME``, as logs show it, each part percent-encoded where need be."""

from __future__ import annotations

from urllib.parse import quote, unquote

from server.errors import BadRequest
from server.events import AgentId


def agent_of(text: str) -> AgentId:
    """An agent from ``TENANT/NAME``; ``/`` and ``%`` within a part are ``%2F`` and ``%25``. Raises `BadRequest`."""
    parts = text.split("/")
    if len(parts) != 2:
        raise BadRequest(f"agent is {text!r}, it must be TENANT/NAME, such as acme/ada; a / in a name is written %2F")
    try:
        return AgentId.of(*(unquote(part, errors="strict") for part in parts))
    except BadRequest as error:
        problem = str(error).replace("associate", "name", 1)  # what it is called where it is typed
        raise BadRequest(f"agent is {text!r}, its {problem}") from None
    except UnicodeDecodeError:
        raise BadRequest(f"agent is {text!r}, its percent-encoding must be that of UTF-8") from None


def shown(agent: AgentId) -> str:
    """What `agent_of` reads, encoded no more than that and a terminal need."""
    return "/".join(
        "".join(c if c.isprintable() and c not in "/%" else quote(c, safe="") for c in part)
        for part in (agent.tenant, agent.associate)
    )

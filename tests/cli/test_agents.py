"""How an agent is written in a command."""

from __future__ import annotations

import pytest

from server.cli.agents import agent_of, shown
from server.errors import BadRequest
from server.events import AgentId


@pytest.mark.parametrize(
    ("text", "agent"),
    [
        ("acme/ada", AgentId.of("acme", "ada")),
        ("Acme/Ada Lovelace", AgentId.of("acme", "ada lovelace")),
        ("acme/%C3%A5da", AgentId.of("acme", "åda")),
        ("acme/a%2Fb%25", AgentId.of("acme", "a/b%")),
        ("acme/%2541", AgentId.of("acme", "%41")),
        ("acme/\u202eada", AgentId.of("acme", "\u202eada")),
    ],
)
def test_agents_are_written_as_they_are_read(text: str, agent: AgentId) -> None:
    assert agent_of(text) == agent
    assert agent_of(shown(agent)) == agent
    assert agent_of(agent.tag) == agent
    assert shown(agent).isprintable()


@pytest.mark.parametrize("text", ["", "ada", "acme/", "/ada", "acme/ada/x", "acme/%FF", "acme/" + "a" * 65, "acme/%00"])
def test_what_is_no_agent_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        agent_of(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("acme/", "agent is 'acme/', its name must have 1 to 64 characters, it has 0"),
        ("/ada", "agent is '/ada', its tenant must have 1 to 64 characters, it has 0"),
        ("acme/%00", "agent is 'acme/%00', its name has a control character"),
        ("associate/", "agent is 'associate/', its name must have 1 to 64 characters, it has 0"),
    ],
)
def test_the_parts_are_called_what_they_are_where_they_are_typed(text: str, said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        agent_of(text)
    assert str(caught.value) == said

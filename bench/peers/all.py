"""Whoever is measured, ours first."""

from __future__ import annotations

from typing import Final

from bench.candidate import Candidate
from bench.peers.channels import Channels
from bench.peers.clearsync import Clearsync
from bench.peers.nchan import Nchan, NchanRedis
from bench.peers.node_ws import NodeWs
from bench.peers.socketio import SocketIo
from bench.peers.starlette import Starlette

CANDIDATES: Final[tuple[Candidate, ...]] = (
    Clearsync(),
    Nchan(),
    NchanRedis(),
    SocketIo(),
    NodeWs(),
    Channels(),
    Starlette(),
)

"""What the head of an upgrade asks for. uvicorn hands us every path, so the path is ours to read too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

from server.errors import NotFound
from server.events import Cursor, DeviceId
from server.wire import SYNC_PATH, sync_query


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """``GET …/api/v1/sync?device=<id>&cursor=<cursor>&ticket=<ticket>``. `tenant` is the path's, where it names one."""

    tenant: str | None
    device: DeviceId
    cursor: Cursor | None
    ticket: str | None

    @classmethod
    def parse(cls, target: str, base_path: str) -> Self:
        """`NotFound` for another path, `BadRequest` for a malformed device or cursor."""
        path, _, query = target.partition("?")
        tenant = tenant_of(path, base_path)
        return cls(tenant, *sync_query(query))


def tenant_of(path: str, base_path: str) -> str | None:
    """The tenant that stands before ``/api/v1/sync``, None where none does; `NotFound` for another path."""
    if path.startswith(base_path) and path.endswith(SYNC_PATH):
        tenant = path[len(base_path) : -len(SYNC_PATH)]
        if not tenant:
            return None
        if tenant.startswith("/") and tenant.count("/") == 1 and len(tenant) > 1:
            return unquote(tenant[1:])
    raise NotFound("no such path")

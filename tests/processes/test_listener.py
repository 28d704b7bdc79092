"""What one is told who can't have an address."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from server.errors import SettingsError
from server.processes.listener import OPTIONAL, bind
from server.settings import KEYS, load


@pytest.mark.parametrize(
    ("key", "way_out"),
    [
        ("server.port", "choose another"),
        ("admin.listen", "choose another, or none by an empty value (CLEARSYNC_ADMIN__LISTEN=)"),
    ],
)
async def test_an_address_in_use_is_named_with_the_way_out(key: str, way_out: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsError) as caught:
            await bind(key, "127.0.0.1", port, patience_s=0)
    assert str(caught.value) == f"{key}: 127.0.0.1:{port} is in use by another process, {way_out}"


@pytest.mark.parametrize("key", sorted(OPTIONAL))
def test_the_way_out_is_one(key: str) -> None:
    assert load(None, {KEYS[key].environment: ""}, {}).admin.address is None

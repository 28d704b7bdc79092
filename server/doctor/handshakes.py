"""What a proxy makes of a websocket handshake: whether it comes through as one, and with which `Host`.

No credentials are needed for it. The gateway judges the `Origin` of a page before it looks at credentials: 403 for a
page of another site, and for its own the websocket is opened, and closed with 4001 where credentials are missing
(docs/protocol.md). Nobody else answers like that.
"""

from __future__ import annotations

from typing import Final

from websockets.exceptions import WebSocketException

from server.client.retry import reason_of
from server.doctor.findings import Broken, Finding, Skip, fail, ok, warn
from server.doctor.patient import Patient

FOREIGN: Final = "https://doctor.invalid"
"""A page that no server has among its own (RFC 6761)."""
UPGRADE: Final = (
    "nginx passes the upgrade on only with `proxy_http_version 1.1;`, `proxy_set_header Upgrade $http_upgrade;` and "
    "`proxy_set_header Connection $clearsync_connection;` (the map is in config/nginx.conf); a location with a "
    "proxy_set_header of its own inherits none"
)
HOST: Final = (
    "`proxy_set_header Host $http_host;`, with its port: clearsync compares a page's Origin with it; pages of other "
    "hosts are named in gateway.allowed_origins"
)


async def upgrade(patient: Patient) -> Finding:
    """A handshake arrives at the gateway as one."""
    try:
        reply = await patient.knock(FOREIGN)
        if reply.status == 401 and reply.problem is not None and not patient.login.missing:
            # A plain request, or a handshake whose Origin was lost: with credentials that one is opened.
            reply = await patient.knock(None)
    except (WebSocketException, TimeoutError) as problem:
        raise Broken(f"the handshake broke: {reason_of(problem)}", UPGRADE) from None
    if reply.status == 101 or (reply.status == 403 and reply.problem is not None):
        return ok("a handshake reaches the gateway")
    if reply.status in (429, 503) and reply.problem is not None:
        return fail(f"the gateway takes none: {reply.said}", "try again later; limits.connections_per_worker")
    if reply.problem is not None or reply.status == 200:
        return fail(f"a handshake arrives as a plain request, without its Upgrade ({reply.said})", UPGRADE)
    return fail(f"a handshake was answered {reply.said}", UPGRADE)


async def origin(patient: Patient) -> Finding:
    """A page of this host may connect, another may not: `Host` and `Origin` arrive as they were sent."""
    own, foreign = await patient.knock(patient.origin), await patient.knock(FOREIGN)
    if foreign.status == 101:
        cure = (
            "a page of any site could act for who is signed in: take `proxy_set_header Origin` out of the proxy, and "
            "name only hosts of your own in gateway.allowed_origins"
        )
        return fail(f"a page of {FOREIGN} may connect", cure)
    if foreign.status != 403:
        cure = (
            "take `proxy_set_header Origin` out of the proxy: browsers that signed in by cookie can't connect without"
        )
        return fail(f"Origin is lost on the way ({foreign.said})", cure)
    if own.status == 403:
        return fail(f"a page of {patient.origin} itself may not connect ({own.said})", HOST)
    if own.status != 101 and own.problem is None:
        return fail(f"a page of {patient.origin} is answered {own.said}", HOST)
    return ok(f"pages of {patient.origin} may connect, of {FOREIGN} may not")


async def forwarded(patient: Patient) -> Finding:
    """Where TLS ends in a proxy, the server is told that it was there: then pages that came without are refused."""
    if patient.tls is None:
        raise Skip("only https can be told from what arrives")
    plain = f"http:{patient.origin.removeprefix('https:')}"
    reply = await patient.knock(plain)
    if reply.status == 403:
        return ok("the server knows that this is https")
    if reply.status != 101 and reply.problem is None:
        raise Broken(f"a page of {plain} is answered {reply.said}", HOST)
    cure = (
        "`proxy_set_header X-Forwarded-Proto $scheme;`, and the proxy's address in server.trusted_proxies; without it "
        "the addresses of clients are not known either, and limits count them all as one"
    )
    return warn("the server does not know that this is https, or which proxy to believe", cure)

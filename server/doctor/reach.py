"""Is there anybody, and is it who we take it for: the address, TLS, `/version`, `/ready`."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import Any, Final

from server import __version__
from server.client import is_loopback
from server.doctor.findings import Broken, Finding, Skip, fail, ok, warn
from server.doctor.patient import Patient
from server.doctor.replies import Reply
from server.wire import SYNC_PATH

EXPIRES_SOON_DAYS: Final = 14
_VERIFY_CURES: Final = {
    10: "renew the certificate; clearsync reads its own again on SIGHUP, nginx on `nginx -s reload`",
    18: "use a certificate of an authority that devices trust, or give yours to this machine in SSL_CERT_FILE",
    19: "give the authority that signed it to this machine in SSL_CERT_FILE; devices need it too",
    20: "the file of ssl_certificate (server.tls_certificate) must hold the whole chain: the certificate, then its "
    "intermediates; an authority of your own goes into SSL_CERT_FILE here, and to the devices",
    21: "the file of ssl_certificate (server.tls_certificate) must hold the whole chain: the certificate, then its "
    "intermediates",
    62: "use the name that the certificate is for, or a certificate for this name",
    64: "use the name that the certificate is for, or a certificate for this address",
}
"""By OpenSSL's numbers (x509_vfy.h)."""
NOT_OURS: Final = (
    "the url must lead to clearsync: look for the port, the path (server.base_path), and where the proxy_pass of this "
    "host goes"
)
BASE: Final = "the url must end with server.base_path, and the proxy must pass on what is below it as it is"
RED: Final = (
    "the log of the server says why it is not ready: the store gives no answer (store.url), it refuses writes or is "
    "out of memory, or this server is about to end (server.drain_grace_s); /ready of the admin listener (admin.listen) "
    "tells of which worker"
)


async def address(patient: Patient) -> Finding:
    """The name resolves, and something listens."""
    if variable := patient.forward_proxy:
        raise Skip(f"the way there is by the proxy in {variable}")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(patient.answer_s):
            found = await loop.getaddrinfo(patient.host, patient.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise Broken(f"no answer about {patient.host} from DNS", "look at this machine's resolver") from None
    except (socket.gaierror, UnicodeError) as problem:
        what = getattr(problem, "strerror", None) or str(problem)
        raise Broken(f"{patient.host} can't be resolved ({what})", "look at the host in the url, and at DNS") from None
    return await _listening(patient, list(dict.fromkeys(str(entry[4][0]) for entry in found)))


async def _listening(patient: Patient, addresses: list[str]) -> Finding:
    """All of them answer, or on this machine, whose devices try one after the other, any."""
    tried = await asyncio.gather(*(_connect(patient, one) for one in addresses))
    problems = [why for why in tried if isinstance(why, str)]
    shown = ", ".join(addresses)
    if len(problems) == len(addresses):
        raise Broken(f"{shown}, port {patient.port}: {problems[0]}", _not_listening(patient))
    if problems and not is_loopback(patient.url):
        cure = "devices that choose it wait, or fail: take the address out of DNS, or listen there too"
        return warn(f"{len(problems)} of {len(addresses)} addresses do not answer ({shown}): {problems[0]}", cure)
    connect_ms = max(took for took in tried if not isinstance(took, str))
    seen = f"{shown}, port {patient.port}, connected in {connect_ms:.1f} ms"
    return ok(seen, addresses=shown, connect_ms=connect_ms)


async def _connect(patient: Patient, address: str) -> float | str:
    """How many ms a connection takes, or why it does not come about."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(patient.answer_s):
            _, writer = await asyncio.open_connection(address, patient.port)
    except TimeoutError:
        return f"no answer within {patient.answer_s:g} s"
    except ConnectionRefusedError:
        return "nothing listens there (connection refused)"
    except OSError as problem:
        return (problem.strerror or str(problem)).lower()
    writer.close()
    return (time.monotonic() - began) * 1000


def _not_listening(patient: Patient) -> str:
    own = " Start it (clearsync serve)." if is_loopback(patient.url) else ""
    return (
        f"look at the port in the url, whether server.host and server.port are those, and at the firewall between.{own}"
    )


async def tls(patient: Patient) -> Finding:
    """The certificate holds, for how long, and by which TLS."""
    if patient.tls is None:
        return _in_the_clear(patient)
    if variable := patient.forward_proxy:
        raise Skip(f"the way there is by the proxy in {variable}; the requests below verify it all the same")
    try:
        async with asyncio.timeout(patient.answer_s):
            _, writer = await asyncio.open_connection(patient.host, patient.port, ssl=patient.tls)
    except ssl.SSLCertVerificationError as problem:
        cure = _VERIFY_CURES.get(problem.verify_code, "look at the certificate with openssl s_client")
        raise Broken(f"the certificate can't be verified: {problem.verify_message.rstrip('.')}", cure) from None
    except ssl.SSLError as problem:
        cure = f"port {patient.port} may not speak TLS: `listen 443 ssl` in nginx, or server.tls_certificate"
        raise Broken(f"no TLS ({(problem.reason or str(problem)).lower().replace('_', ' ')})", cure) from None
    try:
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return _certificate(connection.getpeercert(), connection.version() or "TLS")
    finally:
        writer.close()


def _certificate(certificate: dict[str, Any] | None, version: str) -> Finding:
    until = ssl.cert_time_to_seconds(str((certificate or {}).get("notAfter", "Jan  1 00:00:00 1970 GMT")))
    days = (until - time.time()) / 86_400
    seen = f"{version}, the certificate is good for {days:.0f} days more"
    if days < EXPIRES_SOON_DAYS:
        return warn(
            seen, f"renew it; under {EXPIRES_SOON_DAYS} days says that nothing renews it", days=days, tls=version
        )
    return ok(seen, days=days, tls=version)


def _in_the_clear(patient: Patient) -> Finding:
    if is_loopback(patient.url):
        return ok("plain http, which does not leave this machine", tls=None)
    seen = "plain http: credentials and what is handled cross the network in the clear"
    cure = (
        "end TLS in a proxy (`listen 443 ssl`) or here (server.tls_certificate, server.tls_key), and give an https url"
    )
    if patient.insecure:
        return warn(seen, cure, tls=None)
    return fail(seen, f"{cure}; --insecure-http where the network can be trusted", tls=None)


async def server(patient: Patient) -> Finding:
    """It is clearsync that answers, at this very path, of our own major version."""
    reply = await patient.get("/version")
    told = reply.json
    if reply.status != 200 or not isinstance(told, dict) or told.get("name") != "clearsync":
        who = "" if reply.problem is not None else ", which is not clearsync"
        raise Broken(f"/version: {reply.said}{who}", _not_clearsync(reply))
    asked = await patient.get(SYNC_PATH)
    if asked.status == 404:
        raise Broken(f"clearsync is there, and {SYNC_PATH} is answered {asked.said}", BASE)
    theirs = str(told.get("version"))
    if theirs.partition(".")[0] != __version__.partition(".")[0]:
        cure = "use the client of the same major version: what they say to each other may differ"
        return warn(f"clearsync {theirs}, and this is {__version__}", cure, version=theirs)
    return ok(f"clearsync {theirs}", version=theirs)


def _not_clearsync(reply: Reply) -> str:
    if reply.problem is not None:
        return f"clearsync answers, and not for this url; {NOT_OURS}" if reply.status == 404 else "do as it says"
    if 300 <= reply.status < 400:
        return "give the url that it redirects to: devices send credentials to no other"
    if reply.status in (502, 503, 504):
        return "the proxy can't reach clearsync: look at its proxy_pass, and whether clearsync runs"
    return NOT_OURS


async def ready(patient: Patient) -> Finding:
    """It can serve: the store answers, and it is not about to end."""
    live = await patient.get("/live")
    reply = await patient.get("/ready")
    if live.status != 200:
        raise Broken(f"/live: {live.said}", "the process does not answer, or the proxy does not pass /live on")
    told = reply.json
    if reply.status == 200 and isinstance(told, dict) and told.get("ready") is True:
        return ok("it can serve", ready=True)
    if reply.status == 503:
        return fail("/ready: 503, it runs and can't serve", RED, ready=False)
    return fail(f"/ready: {reply.said}", "the proxy must pass /ready on as it is")

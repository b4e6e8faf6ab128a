"""The TLS listener: only where it was asked for, and only for clients with a certificate.

It takes inference, what is to be known of the agent and its models, and deployments, which must be signed
whatever the policy. Everything else that changes something is the socket's, and so SSH's. A certificate's
dates are checked by this machine's clock.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from device_agent import durable
from device_agent.errors import DeviceError, InvalidRequest, PeerRefused, Unsigned
from device_agent.routes import agent_of, control, inference, models, transfers

BACKLOG = 64
MAX_CONNECTIONS = 64
Endpoint = Callable[[Request], Awaitable[Response]]
_OPEN: frozenset[Endpoint] = frozenset(
    {
        control.describe,
        models.list_models,
        models.show_model,
        models.history,
        models.signature,
        *(route.endpoint for route in inference.ROUTES),
    }
)
_FOR_SIGNED: frozenset[Endpoint] = frozenset(
    {
        models.deploy,
        transfers.head_blob,
        transfers.create_upload,
        transfers.head_upload,
        transfers.append_chunk,
    }
)


@frozen
class TlsSettings:
    """Where to listen, and the PEM files: the agent's certificate and key, and who signs its clients'."""

    host: str
    port: int
    certificate: Path
    key: Path
    client_ca: Path


def settings(address: str, certificate: Path | None, key: Path | None, client_ca: Path | None) -> TlsSettings:
    """What the command line's options ask for.

    Raises:
        InvalidRequest: the address is none, or a file is not named: without a client CA everyone may come.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        number = int(port) if port.isascii() and port.isdecimal() else -1
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise InvalidRequest(
            "not an address to listen on", where="--tls", got=repr(address[:80]), expected="IP:PORT"
        )
    if certificate is None or key is None or client_ca is None:
        raise InvalidRequest(
            "a TLS listener needs a certificate, its key, and the CA that its clients' certificates are of",
            where="--tls",
            expected="--tls-cert, --tls-key and --tls-client-ca",
        )
    return TlsSettings(host, number, certificate, key, client_ca)


def context(chosen: TlsSettings) -> ssl.SSLContext:
    """TLS 1.2 or later, with clients that show a certificate of the CA.

    Raises:
        DeviceError: a file is missing or is not what it should be.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        made.load_cert_chain(chosen.certificate, chosen.key)
        made.load_verify_locations(chosen.client_ca)
    except (OSError, ssl.SSLError) as e:
        raise DeviceError("cannot use a TLS file", where=str(chosen.certificate), got=str(e)) from e
    if not made.get_ca_certs():
        raise DeviceError("the client CA's file holds no CA certificate", where=str(chosen.client_ca))
    return made


def listen(chosen: TlsSettings, stack: ExitStack) -> socket.socket:
    """A listening TCP socket; DeviceError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in chosen.host else socket.AF_INET
    sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    with durable.mapped("cannot listen", Path(f"{chosen.host}:{chosen.port}")):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((chosen.host, chosen.port))
        sock.listen(BACKLOG)
    return sock


def over_network(route: Route) -> Route:
    """A route as it answers to the network; one that is not named above is refused."""
    if route.endpoint in _OPEN:
        return route
    endpoint = _for_signed(route.endpoint) if route.endpoint in _FOR_SIGNED else _refuse
    return Route(route.path, endpoint, methods=sorted(route.methods or ()))


def _for_signed(endpoint: Endpoint) -> Endpoint:
    async def guarded(request: Request) -> Response:
        if not agent_of(request).trust.required:
            raise Unsigned(
                "over the network only signed bundles are taken, and this device requires no signature yet",
                next_step="`edge devices signers add` installs a signer.",
            )
        return await endpoint(request)

    return guarded


async def _refuse(request: Request) -> Response:
    raise PeerRefused(
        "this is not taken from the network",
        where=f"{request.method} {request.url.path}"[:200],
        next_step="Use the agent's socket, which SSH leads to.",
    )

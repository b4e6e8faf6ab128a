"""The agent's HTTP server on its Unix socket, from the lock to the last worker's end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from attrs import frozen
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import Server

from device_agent import chunks, home, isolation, limits, log, network, notify, peers
from device_agent.agent import Agent, open_agent
from device_agent.ballast import Ballast
from device_agent.gate import Gate, bounded_protocol
from device_agent.lifetime import Lifetime
from device_agent.limits import Limits
from device_agent.network import TlsSettings
from device_agent.routes import control, inference, models, observation, transfers, trials
from device_agent.web import EXCEPTION_HANDLERS

KEEP_ALIVE_S = 75
DRAIN_S = 10  # for requests that are being answered when the agent is told to end
DISK_THREADS = 4


def application(agent: Agent, *, over_network: bool = False) -> Starlette:
    """The routes, answering for this agent: all of them, or what is open to the network."""
    routes = [
        *control.ROUTES,
        *transfers.ROUTES,
        *models.ROUTES,
        *trials.ROUTES,
        *inference.ROUTES,
        *observation.ROUTES,
    ]
    app = Starlette(
        routes=[network.over_network(route) for route in routes] if over_network else routes,
        exception_handlers=EXCEPTION_HANDLERS,
    )
    app.router.redirect_slashes = False
    app.state.agent = agent
    app.state.network = over_network
    return app


def _checking(base: type[H11Protocol], group: int | None) -> type[H11Protocol]:
    """HTTP/1.1 on a Unix socket, that answers a peer who may not talk to the agent with the refusal only."""

    class Checking(base):  # type: ignore[misc, valid-type] # a base that is chosen as it runs
        refused = False

        def connection_made(self, transport: asyncio.Transport) -> None:
            """Looks at who it is before a byte is read."""
            refusal = peers.check(transport.get_extra_info("socket"), group)
            if refusal is not None:
                self.refused = True
                self.app = JSONResponse(refusal.to_json(), refusal.http_status, {"Connection": "close"})
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            """Of a peer who was refused nothing is received, chunks neither."""
            if self.refused:
                H11Protocol.data_received(self, data)
            else:
                super().data_received(data)

    return Checking


class _Server(Server):
    """Uvicorn, telling the agent's streams to end when it is about to."""

    lifetime: Lifetime

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends streams that only wait, then waits for answers under way."""
        self.lifetime.end("a signal or the last lease")
        await super().shutdown(sockets)


class _NetworkServer(Server):
    """Uvicorn beside the one of the socket, which alone handles signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


@frozen
class Options:
    """How to serve. `listening`: the socket's path, that of the state folder if None.

    `group`: whose members may talk to it too. `tls`: listen on the network as well. `accept_unsigned`: see
    `trust`.
    """

    listening: Path | None = None
    on_demand: bool = False
    group: int | None = None
    tls: TlsSettings | None = None
    accept_unsigned: bool = False


def serve(state_dir: Path, options: Options) -> None:
    """Run the agent until it is told to end, or, on demand, until nobody holds a lease.

    Args:
        state_dir: made where it is missing.
        options: how.

    Raises:
        DeviceError: another agent has the folder, or the folder or a socket cannot be made, or a TLS file is
            not what it should be.
    """
    home.make_private(state_dir)
    path = options.listening if options.listening is not None else home.socket_path(state_dir)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_while_starting)
    with ExitStack() as stack:
        stack.enter_context(home.alone(state_dir, path))
        sock = stack.enter_context(home.listener(path, Ballast(state_dir), options.group))
        secure = None if options.tls is None else network.listen(options.tls, stack)
        asyncio.run(_serve(state_dir, sock, secure, options))


def _end_while_starting(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)  # whatever it was in the middle of, the next start brings to rest


async def _serve(
    state_dir: Path, sock: socket.socket, secure: socket.socket | None, options: Options
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(DISK_THREADS, "disk"))
    lifetime = Lifetime(lambda: setattr(server, "should_exit", True), on_demand=options.on_demand)
    allowed = limits.of_this_machine()
    hidden = tuple(dict.fromkeys((str(state_dir), str(Path(sock.getsockname()).parent))))
    contained = isolation.choose(os.environ, allowed, hidden)
    agent = open_agent(state_dir, lifetime, contained, accept_unsigned=options.accept_unsigned)
    protocol = _checking(
        bounded_protocol(chunks.protocol(agent.uploads, agent.metrics), allowed.connections), options.group
    )
    app = Gate(application(agent), agent.metrics, allowed)
    server = _Server(_configuration(app, protocol))
    server.lifetime = lifetime
    for number in (signal.SIGINT, signal.SIGTERM):
        # until uvicorn handles them, and when it raises those it caught once more at its end
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    log.event("serving", state_dir=str(state_dir), socket=sock.getsockname(), on_demand=options.on_demand)
    try:
        async with notify.reported(), _network(agent, secure, options.tls, allowed):
            await server.serve(sockets=[sock])
    finally:
        await lifetime.drain()
        await agent.serving.close()
        log.event("ended")


@asynccontextmanager
async def _network(
    agent: Agent, sock: socket.socket | None, tls: TlsSettings | None, allowed: Limits
) -> AsyncIterator[None]:
    """While in this context, the TLS listener answers, where there is one."""
    if sock is None or tls is None:
        yield
        return
    secured = network.context(tls)
    app = Gate(application(agent, over_network=True), agent.metrics, allowed)
    configuration = _configuration(app, H11Protocol)
    configuration.ssl_context_factory = lambda *_: secured
    configuration.limit_concurrency = network.MAX_CONNECTIONS
    server = _NetworkServer(configuration)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    log.event("serving over TLS", address=sock.getsockname())
    try:
        yield
    finally:
        server.should_exit = True
        await task


def _configuration(app: ASGIApp, protocol: type[H11Protocol]) -> Config:
    return Config(
        app,
        http=protocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )

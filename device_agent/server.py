"""The agent's HTTP server on its Unix socket, from the lock to the last worker's end."""

from __future__ import annotations

import asyncio
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from starlette.applications import Starlette
from uvicorn.config import Config
from uvicorn.server import Server

from device_agent import home, log, notify
from device_agent.agent import Agent, open_agent
from device_agent.lifetime import Lifetime
from device_agent.routes import control, inference, models, transfers
from device_agent.web import EXCEPTION_HANDLERS

KEEP_ALIVE_S = 75
DRAIN_S = 10  # for requests that are being answered when the agent is told to end
DISK_THREADS = 4


def application(agent: Agent) -> Starlette:
    """The routes, answering for this agent."""
    app = Starlette(
        routes=[*control.ROUTES, *transfers.ROUTES, *models.ROUTES, *inference.ROUTES],
        exception_handlers=EXCEPTION_HANDLERS,
    )
    app.router.redirect_slashes = False
    app.state.agent = agent
    return app


class _Server(Server):
    """Uvicorn, telling the agent's streams to end when it is about to."""

    lifetime: Lifetime

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends streams that only wait, then waits for answers under way."""
        self.lifetime.end("a signal or the last lease")
        await super().shutdown(sockets)


def serve(state_dir: Path, *, listening: Path | None, on_demand: bool) -> None:
    """Run the agent until it is told to end, or, on demand, until nobody holds a lease.

    Args:
        state_dir: made where it is missing.
        listening: the socket's path; that of the state folder if None.
        on_demand: whether it ends by itself.

    Raises:
        DeviceError: another agent has the folder, or the folder or socket cannot be made.
    """
    home.make_private(state_dir)
    path = listening if listening is not None else home.socket_path(state_dir)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_while_starting)
    with home.alone(state_dir, path), home.listener(path) as sock:
        asyncio.run(_serve(state_dir, sock, on_demand=on_demand))


def _end_while_starting(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)  # whatever it was in the middle of, the next start brings to rest


async def _serve(state_dir: Path, sock: socket.socket, *, on_demand: bool) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(DISK_THREADS, "disk"))
    lifetime = Lifetime(lambda: setattr(server, "should_exit", True), on_demand=on_demand)
    agent = open_agent(state_dir, lifetime)
    server = _Server(
        Config(
            application(agent),
            http="h11",
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
    )
    server.lifetime = lifetime
    for number in (signal.SIGINT, signal.SIGTERM):
        # until uvicorn handles them, and when it raises those it caught once more at its end
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    log.event("serving", state_dir=str(state_dir), socket=sock.getsockname(), on_demand=on_demand)
    try:
        async with notify.reported():
            await server.serve(sockets=[sock])
    finally:
        await lifetime.drain()
        await agent.serving.close()
        log.event("ended")

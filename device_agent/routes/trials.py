"""Routes that try something on the device and leave nothing on it: compare, query, a runtime's processors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from device_agent import patience, web
from device_agent.agent import Agent
from device_agent.bundle import check_name
from device_agent.errors import EdgeError
from device_agent.protocol import CompareRequest, QueryRequest
from device_agent.routes import agent_of

T = TypeVar("T")
ANSWER_S = 600.0  # for a question to a runtime: its worker's own deadlines come first


async def compare(request: Request) -> Response:
    """Events, the result a Compared. It ends if the client goes away."""
    agent, name = agent_of(request), check_name(request.path_params["name"])
    asked = await web.typed(request, CompareRequest)
    return await web.events(
        agent.lifetime,
        lambda emit: _counted(agent, "compare", agent.trials.compare(name, asked, emit)),
        cancel_on_disconnect=True,
    )


async def query(request: Request) -> Response:
    """Queried. It ends if the client goes away."""
    agent, name = agent_of(request), check_name(request.path_params["name"])
    asked = await web.typed(request, QueryRequest)
    with agent.lifetime.held():
        found = await patience.answered(
            request, lambda _: _counted(agent, "query", agent.trials.query(name, asked)), ANSWER_S
        )
    return web.answer(found)


async def devices(request: Request) -> Response:
    """[RuntimeDevice]."""
    agent, runtime = agent_of(request), request.path_params["name"]
    with agent.lifetime.held():
        return web.answer(await patience.answered(request, lambda _: agent.trials.devices(runtime), ANSWER_S))


async def _counted(agent: Agent, operation: str, running: Awaitable[T]) -> T:
    """A trial, counted by how it ends."""
    try:
        found = await running
    except asyncio.CancelledError:
        agent.metrics.tried(operation, "left")
        raise
    except EdgeError as e:
        agent.metrics.tried(operation, e.code)
        raise
    agent.metrics.tried(operation, "answered")
    return found


ROUTES = [
    Route("/edge/v1/models/{name}/compare", compare, methods=["POST"]),
    Route("/edge/v1/models/{name}/query", query, methods=["POST"]),
    Route("/edge/v1/runtimes/{name}/devices", devices, methods=["GET"]),
]

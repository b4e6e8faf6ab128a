"""Routes about the agent itself: what it is, and how long it lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from device_agent import codec, system
from device_agent.protocol import EVENTS_MEDIA_TYPE, AgentInfo, Event
from device_agent.routes import agent_of
from device_agent.web import answer


async def describe(request: Request) -> Response:
    """AgentInfo."""
    agent = agent_of(request)

    def describe_all() -> AgentInfo:
        return system.describe(
            agent.state_dir,
            on_demand=agent.lifetime.on_demand,
            isolation=agent.serving.isolation.kind,
            gaps=agent.serving.gaps,
            trust=agent.trust.describe(),
        )

    return answer(await asyncio.to_thread(describe_all))


async def lease(request: Request) -> Response:
    """A stream of one line that stays open until the client or the agent goes away."""
    lifetime = agent_of(request).lifetime

    async def lines() -> AsyncIterator[str]:
        with lifetime.held():
            yield codec.dumps(Event("progress", "the agent stays while this is open")) + "\n"
            await lifetime.ending.wait()

    return StreamingResponse(lines(), media_type=EVENTS_MEDIA_TYPE)


async def keep(request: Request) -> Response:
    """An on-demand agent becomes a lasting one."""
    agent_of(request).lifetime.keep()
    return Response(status_code=204)


async def shutdown(request: Request) -> Response:
    """The agent ends once this is answered."""
    lifetime = agent_of(request).lifetime
    return Response(status_code=204, background=BackgroundTask(lifetime.end, "it was asked to"))


ROUTES = [
    Route("/edge/v1/agent", describe, methods=["GET"]),
    Route("/edge/v1/lease", lease, methods=["GET"]),
    Route("/edge/v1/agent/keep", keep, methods=["POST"]),
    Route("/edge/v1/agent/shutdown", shutdown, methods=["POST"]),
]

"""Routes about deployed models: list, deploy, roll back, remove, benchmark."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from device_agent import web
from device_agent.agent import Agent
from device_agent.bench import check
from device_agent.bundle import check_digest, check_name
from device_agent.errors import EdgeError
from device_agent.protocol import BenchmarkRequest, Deployed, DeployRequest, Event
from device_agent.routes import agent_of
from device_agent.trust import Offer

Emit = Callable[[Event], None]


async def list_models(request: Request) -> Response:
    """[DeploymentStatus]."""
    return web.answer(agent_of(request).activator.statuses())


async def show_model(request: Request) -> Response:
    """DeploymentStatus."""
    return web.answer(agent_of(request).activator.status(request.path_params["name"]))


async def history(request: Request) -> Response:
    """[HistoryEntry], oldest first."""
    return web.answer(agent_of(request).activator.history(request.path_params["name"]))


async def signature(request: Request) -> Response:
    """SignatureStatus."""
    agent = agent_of(request)
    return web.answer(await asyncio.to_thread(agent.activator.signature, request.path_params["name"]))


async def remove(request: Request) -> Response:
    """Remove a model."""
    agent = agent_of(request)
    with agent.lifetime.held():
        await agent.activator.remove(request.path_params["name"])
    return Response(status_code=204)


async def deploy(request: Request) -> Response:
    """Events, the result a Deployed. It goes on if the client goes away."""
    agent, name = agent_of(request), check_name(request.path_params["name"])
    asked = await web.typed(request, DeployRequest)
    digest = check_digest(asked.manifest_digest)
    offer = Offer(asked.statement, asked.signature, must=request.app.state.network)
    return await web.events(
        agent.lifetime,
        lambda emit: _counted(agent, "deploy", agent.activator.deploy(name, digest, emit, offer)),
        cancel_on_disconnect=False,
    )


async def rollback(request: Request) -> Response:
    """Events, the result a Deployed. It goes on if the client goes away."""
    agent, name = agent_of(request), check_name(request.path_params["name"])
    return await web.events(
        agent.lifetime,
        lambda emit: _counted(agent, "rollback", agent.activator.rollback(name, emit)),
        cancel_on_disconnect=False,
    )


async def benchmark(request: Request) -> Response:
    """Events, the result a BenchmarkResult. It ends if the client goes away."""
    agent, name = agent_of(request), check_name(request.path_params["name"])
    asked = check(await web.typed(request, BenchmarkRequest))

    async def measure(emit: Emit) -> object:
        agent.serving.live(name)
        emit(Event("progress", "loading"))
        return await agent.serving.benchmark(
            name, asked, lambda done, total: emit(Event("progress", "measuring", done=done, total=total))
        )

    return await web.events(agent.lifetime, measure, cancel_on_disconnect=True)


async def _counted(agent: Agent, operation: str, running: Awaitable[Deployed]) -> Deployed:
    """An activation, counted by how it ends."""
    try:
        deployed = await running
    except EdgeError as e:
        agent.metrics.deployed(operation, e.code)
        raise
    agent.metrics.deployed(operation, "unchanged" if deployed.unchanged else "committed")
    return deployed


ROUTES = [
    Route("/edge/v1/models", list_models, methods=["GET"]),
    Route("/edge/v1/models/{name}", show_model, methods=["GET"]),
    Route("/edge/v1/models/{name}", remove, methods=["DELETE"]),
    Route("/edge/v1/models/{name}/history", history, methods=["GET"]),
    Route("/edge/v1/models/{name}/signature", signature, methods=["GET"]),
    Route("/edge/v1/models/{name}/deploy", deploy, methods=["POST"]),
    Route("/edge/v1/models/{name}/rollback", rollback, methods=["POST"]),
    Route("/edge/v1/models/{name}/benchmark", benchmark, methods=["POST"]),
]

"""Routes of the Open Inference Protocol v2; see `oip` for the bodies."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from device_agent import oip, patience, web
from device_agent.errors import InvalidRequest
from device_agent.routes import agent_of
from device_agent.store import Generation

MAX_BODY_BYTES = 64 << 20


async def server_metadata(_: Request) -> Response:
    """Name, version and extensions of the server."""
    return JSONResponse(oip.server_metadata())


async def live(_: Request) -> Response:
    """The server runs."""
    return JSONResponse({"live": True})


async def ready(_: Request) -> Response:
    """Every deployed model can be asked: recovery is over before the first request is answered."""
    return JSONResponse({"ready": True})


async def model_metadata(request: Request) -> Response:
    """Inputs and outputs of a model."""
    return JSONResponse(oip.model_metadata(_generation(request)))


async def model_ready(request: Request) -> Response:
    """200 where the model is active; UnknownModel otherwise."""
    generation = _generation(request)
    return JSONResponse({"name": generation.name, "ready": True})


async def infer(request: Request) -> Response:
    """Run a model once."""
    agent, generation = agent_of(request), _generation(request)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise InvalidRequest(
            "compressed requests are not taken",
            got=request.headers["content-encoding"][:40],
            expected="identity",
        )
    has_length = oip.HEADER_LENGTH in request.headers
    header_length = web.number(request, oip.HEADER_LENGTH) if has_length else None
    seconds = patience.deadline_s(request)
    body = await web.body(request, MAX_BODY_BYTES)
    with agent.lifetime.held():
        asked = await asyncio.to_thread(oip.decode_request, body, header_length)
        outputs = await patience.answered(
            request, lambda ticket: agent.serving.infer(generation, asked.inputs, ticket), seconds
        )
        answer, answer_header = await asyncio.to_thread(oip.encode_response, asked, generation, outputs)
    if answer_header is None:
        return Response(answer, media_type="application/json")
    headers = {oip.HEADER_LENGTH: str(answer_header)}
    return Response(answer, headers=headers, media_type="application/octet-stream")


def _generation(request: Request) -> Generation:
    return agent_of(request).serving.live(request.path_params["name"], request.path_params.get("version"))


ROUTES = [
    Route("/v2", server_metadata, methods=["GET"]),
    Route("/v2/health/live", live, methods=["GET"]),
    Route("/v2/health/ready", ready, methods=["GET"]),
    *(
        Route(f"/v2/models/{{name}}{version}{path}", endpoint, methods=[method])
        for version in ("", "/versions/{version}")
        for path, endpoint, method in (
            ("", model_metadata, "GET"),
            ("/ready", model_ready, "GET"),
            ("/infer", infer, "POST"),
        )
    ),
]

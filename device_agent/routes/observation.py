"""Routes for whoever watches the agent: metrics for Prometheus, and the newest lines of its log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import device_agent
from device_agent import log, system
from device_agent.agent import Agent
from device_agent.errors import InvalidRequest
from device_agent.metrics import MEDIA_TYPE, Exposition, resident_bytes
from device_agent.protocol import EVENTS_MEDIA_TYPE
from device_agent.routes import agent_of

DEFAULT_LINES = 100


async def metrics(request: Request) -> Response:
    """Everything that is counted."""
    agent = agent_of(request)
    temperature = await asyncio.to_thread(system.temperature_c, Path("/sys/class/thermal"))
    return Response(expose(agent, temperature), media_type=None, headers={"Content-Type": MEDIA_TYPE})


def expose(agent: Agent, temperature_c: float | None) -> str:
    """The agent's counters as text."""
    counted, serving, uploads = agent.metrics, agent.serving, agent.uploads
    workers = serving.workers()
    text = Exposition()
    version = (("version", device_agent.__version__), ("isolation", serving.isolation.kind))
    text.family("edge_agent_build_info", "gauge", "What runs.", [(version, 1)])
    text.family(
        "edge_agent_requests_total",
        "counter",
        "Requests by class of route and status.",
        [
            ((("route", route), ("status", str(status))), count)
            for (route, status), count in sorted(counted.requests.items())
        ],
    )
    text.histograms(
        "edge_agent_request_duration_seconds",
        "From a request to the begin of its answer.",
        {(("route", route),): found for route, found in sorted(counted.durations.items())},
    )
    text.family(
        "edge_agent_queue_depth",
        "gauge",
        "Requests that run or wait, by model.",
        [((("model", name),), depth) for name, depth in serving.depths().items()],
    )
    text.family(
        "edge_agent_workers",
        "gauge",
        "Warm workers, by model.",
        [((("model", name),), len(pids)) for name, pids in workers.items()],
    )
    text.family(
        "edge_agent_worker_resident_bytes",
        "gauge",
        "Resident memory of warm workers, by model.",
        [((("model", name),), sum(map(resident_bytes, pids))) for name, pids in workers.items()],
    )
    for name, meaning, value in (
        ("worker_starts_total", "Workers started.", serving.counts.started),
        ("worker_failures_total", "Workers that died, hung or could not load.", serving.counts.failed),
        ("worker_restarts_total", "Workers started because one had died.", serving.counts.replaced),
        ("worker_evictions_total", "Idle workers ended to make room.", serving.counts.evicted),
        ("upload_bytes_total", "Bytes of uploads that were taken.", uploads.taken_bytes),
    ):
        text.family(f"edge_agent_{name}", "counter", meaning, [((), value)])
    text.family(
        "edge_agent_deploys_total",
        "counter",
        "Deployments and rollbacks by how they ended.",
        [
            ((("operation", operation), ("outcome", outcome)), count)
            for (operation, outcome), count in sorted(counted.deploys.items())
        ],
    )
    text.family(
        "edge_agent_trials_total",
        "counter",
        "Comparisons and queries by how they ended.",
        [
            ((("operation", operation), ("outcome", outcome)), count)
            for (operation, outcome), count in sorted(counted.trials.items())
        ],
    )
    text.family("process_resident_memory_bytes", "gauge", "Of the agent.", [((), resident_bytes())])
    if temperature_c is not None:
        text.family("edge_agent_temperature_celsius", "gauge", "The hottest zone.", [((), temperature_c)])
    return text.text()


async def logs(request: Request) -> Response:
    """The newest lines, and with `follow=1` those to come until the client or the agent goes away."""
    count, level = _choices(request)
    newest = log.RING.newest(count, level)
    after = log.RING.added
    if request.query_params.get("follow", "0") == "0":
        return Response("".join(f"{line}\n" for _, line in newest), media_type=EVENTS_MEDIA_TYPE)
    ending = agent_of(request).lifetime.ending

    async def lines() -> AsyncIterator[str]:
        for _, line in newest:
            yield f"{line}\n"
        async for line in log.RING.follow(after, level, ending):
            yield f"{line}\n"

    return StreamingResponse(lines(), media_type=EVENTS_MEDIA_TYPE)


def _choices(request: Request) -> tuple[int, str]:
    """How many lines, of what gravity; InvalidRequest for anything that is none."""
    count = request.query_params.get("lines", str(DEFAULT_LINES))
    level = request.query_params.get("level", "info")
    if not (count.isascii() and count.isdecimal() and len(count) <= 4 and int(count) <= log.MAX_LINES):
        raise InvalidRequest("not a number of lines", got=repr(count[:40]), expected=f"0 to {log.MAX_LINES}")
    if level not in log.LEVELS:
        raise InvalidRequest("unknown level", got=repr(level[:40]), expected=", ".join(log.LEVELS))
    if request.query_params.get("follow", "0") not in ("0", "1"):
        raise InvalidRequest("follow is 0 or 1", got=repr(request.query_params["follow"][:40]))
    return int(count), level


ROUTES = [
    Route("/metrics", metrics, methods=["GET"]),
    Route("/edge/v1/logs", logs, methods=["GET"]),
]

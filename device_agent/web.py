"""HTTP as the routes need it: bounded bodies, strict headers, streams of events, errors as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ExceptionHandler

from device_agent import codec, gate, log
from device_agent.errors import AgentUnreachable, DeviceError, EdgeError, InvalidRequest, Overloaded
from device_agent.lifetime import Lifetime
from device_agent.protocol import EVENTS_MEDIA_TYPE, Event

T = TypeVar("T")
MAX_JSON_BYTES = 1 << 20
MAX_NUMBER_DIGITS = 15


async def body(request: Request, limit: int) -> bytearray:
    """The request's body; InvalidRequest where it is longer than `limit` bytes."""
    declared = number(request, "content-length") if "content-length" in request.headers else 0
    found = bytearray()
    if declared <= limit:
        async for chunk in request.stream():
            found += chunk
            if len(found) > limit:
                break
    if max(declared, len(found)) > limit:
        raise InvalidRequest(
            "the body is too large", got=f"{max(declared, len(found))} bytes", expected=f"<= {limit}"
        )
    return found


async def typed(request: Request, kind: type[T]) -> T:
    """The request's JSON body as a `kind`; InvalidRequest where it is not one."""
    return codec.from_json(bytes(await body(request, MAX_JSON_BYTES)), kind, where="request body")


def number(request: Request, header: str) -> int:
    """A header that is a whole number, not negative; InvalidRequest where it is missing or anything else."""
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_NUMBER_DIGITS):
        raise InvalidRequest("a header is missing or no whole number", where=header, got=repr(text[:40]))
    return int(text)


def answer(value: object, status: int = 200) -> Response:
    """A typed value as a JSON response."""
    return Response(codec.dumps(value), status, media_type="application/json")


async def events(
    lifetime: Lifetime,
    operation: Callable[[Callable[[Event], None]], Awaitable[object]],
    *,
    cancel_on_disconnect: bool,
) -> Response:
    """Run an operation that emits events, as a stream that ends with its result or error.

    The operation goes on when the client goes away and while the agent ends, unless `cancel_on_disconnect`.

    Raises:
        EdgeError: the operation failed before its first event; so its HTTP status can say so.
    """
    queue: asyncio.Queue[Event] = asyncio.Queue()
    failure: list[EdgeError] = []

    async def run() -> None:
        with lifetime.held():
            try:
                result = await operation(queue.put_nowait)
                queue.put_nowait(Event("result", result=codec.to_json(result)))
            except asyncio.CancelledError:
                failure.append(_ending())
            except EdgeError as e:
                failure.append(e)
            except Exception as e:  # noqa: BLE001 - a mistake of ours must still end the stream with an error
                log.fault("operation failed", e)
                failure.append(unexpected(e))
            if failure:
                queue.put_nowait(Event("error", error=failure[0].to_json()))

    task = lifetime.run(run(), optional=cancel_on_disconnect)
    first = await queue.get()
    if first.kind == "error":
        raise failure[0]

    async def lines() -> AsyncIterator[str]:
        event = first
        try:
            yield codec.dumps(event) + "\n"
            while event.kind not in {"result", "error"}:
                event = await queue.get()
                yield codec.dumps(event) + "\n"
        finally:
            if cancel_on_disconnect:
                task.cancel()

    return StreamingResponse(lines(), media_type=EVENTS_MEDIA_TYPE)


def _ending() -> AgentUnreachable:
    return AgentUnreachable(
        "the agent is ending", next_step="Nothing was changed; run the command again once it has started."
    )


def unexpected(error: BaseException) -> DeviceError:
    """What is said of an error that nobody expected."""
    return DeviceError(
        "the agent made a mistake",
        got=type(error).__name__,
        next_step="Its log has the traceback; please report it.",
    )


def _edge_error(_: Request, error: Exception) -> Response:
    if isinstance(error, Overloaded):
        return gate.refusal(error)
    if isinstance(error, EdgeError):
        return JSONResponse(gate.body_of(error), error.http_status)
    return _surprise(_, error)  # never: the table below gives no other


def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such path, no such method."""
    status = error.status_code if isinstance(error, HTTPException) else 400
    allowed = error.headers if isinstance(error, HTTPException) else None
    refusal = InvalidRequest(
        "no such method here" if status == 405 else "no such path",
        got=f"{request.method} {request.url.path[:200]}",
    )
    return JSONResponse(gate.body_of(refusal), status, headers=dict(allowed or {}))


def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it: the client went away in the middle of its request


def _surprise(request: Request, error: Exception) -> Response:
    log.fault("request failed", error, method=request.method, path=request.url.path)
    return JSONResponse(gate.body_of(unexpected(error)), 500)


EXCEPTION_HANDLERS: dict[Any, ExceptionHandler] = {
    EdgeError: _edge_error,
    HTTPException: _http_error,
    ClientDisconnect: _gone,
    Exception: _surprise,
}


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """JSON text that is an object; InvalidRequest for anything else."""
    parsed = codec.loads(data, where)
    if not isinstance(parsed, dict):
        raise InvalidRequest("not a JSON object", where=where, got=repr(data[:40]))
    return parsed

"""What every request passes: a number of its own, a place among those being answered, and the counting."""

from __future__ import annotations

import re
import secrets
import time
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from device_agent import log
from device_agent.errors import Overloaded
from device_agent.limits import Limits
from device_agent.metrics import Metrics

REQUEST_ID = b"x-request-id"
RETRY_AFTER_S = 1
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# the first that fits names the class; a class of its own for each model would let a client make any number
_CLASSES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"/v2/models/[^/]+(/versions/[^/]+)?/infer", "infer"),
        (r"/v2(/.*)?", "metadata"),
        (r"/edge/v1/uploads(/.*)?", "upload"),
        (r"/edge/v1/blobs/.*", "blob"),
        (r"/edge/v1/models/[^/]+/(deploy|rollback)", "deploy"),
        (r"/edge/v1/models/[^/]+/benchmark", "benchmark"),
        (r"/edge/v1/models/[^/]+/(compare|query)", "compare"),
        (r"/edge/v1/runtimes/.*", "runtimes"),
        (r"/edge/v1/models(/.*)?", "models"),
        (r"/edge/v1/agent(/.*)?", "agent"),
        (r"/edge/v1/lease", "lease"),
        (r"/edge/v1/logs", "logs"),
        (r"/metrics", "metrics"),
    )
)
# these wait by design, or are how one finds out why everything else is refused
_UNCOUNTED = frozenset({"lease", "logs", "metrics", "agent"})


def route_class(path: str) -> str:
    """The kind of request that a path is; `other` for any that there is no route for."""
    return next((name for pattern, name in _CLASSES if pattern.fullmatch(path)), "other")


class Gate:
    """Middleware around the routes; see the module."""

    def __init__(self, routes: ASGIApp, metrics: Metrics, limits: Limits) -> None:
        self._routes = routes
        self._metrics = metrics
        self._most = limits.requests
        self.under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._routes(scope, receive, send)
            return
        begin = time.monotonic()
        route = route_class(scope["path"])
        asked = dict(scope["headers"]).get(REQUEST_ID, b"")
        own_id = asked if _ID.fullmatch(asked) else secrets.token_hex(6).encode()
        token = log.request_id.set(own_id.decode())

        async def numbered(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID, own_id)]
                status = int(message["status"])
                self._metrics.answered(route, status, time.monotonic() - begin)
                if status >= 500 or status == 429:
                    log.warning("request refused", method=scope["method"], path=scope["path"], status=status)
            await send(message)

        counted = route not in _UNCOUNTED
        try:
            if counted and self.under_way >= self._most:
                error = Overloaded("too many requests are being answered", expected=f"<= {self._most}")
                await refusal(error)(scope, receive, numbered)
                return
            self.under_way += counted
            try:
                await self._routes(scope, receive, numbered)
            finally:
                self.under_way -= counted
        finally:
            log.request_id.reset(token)


def refusal(error: Overloaded) -> JSONResponse:
    """An answer that says when to come back."""
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return JSONResponse(body_of(error), error.http_status, headers)


def body_of(error: Any) -> dict[str, Any]:
    """An error's JSON with the number of the request that it answers."""
    return {**error.to_json(), "request_id": log.request_id.get()}


def bounded_protocol(base: type[H11Protocol], most: int) -> type[H11Protocol]:
    """Uvicorn's HTTP, which answers and closes a connection that is one too many."""

    class Bounded(base):  # type: ignore[misc, valid-type] # a base that is chosen as it runs
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                error = Overloaded("too many connections are open", expected=f"<= {most}")
                body = refusal(error)
                lines = "".join(f"{key.decode()}: {value.decode()}\r\n" for key, value in body.raw_headers)
                head = f"HTTP/1.1 429 Too Many Requests\r\n{lines}connection: close\r\n\r\n"
                transport.write(head.encode() + bytes(body.body))
                transport.close()

    return Bounded

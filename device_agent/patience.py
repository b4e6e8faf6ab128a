"""How long a request is waited for: until its client leaves or its time is up, whichever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from attrs import define
from starlette.requests import ClientDisconnect, Request

from device_agent import log, web
from device_agent.errors import DeadlineExceeded, InvalidRequest

T = TypeVar("T")
TIMEOUT_MS = "Edge-Timeout-Ms"
DEADLINE_S = 120.0  # of a request that names none
_LEFT: set[asyncio.Task[object]] = set()  # under way with nobody waiting: a task is kept by who refers to it


@define
class Ticket:
    """A request's place: `begun` once a worker is busy with it, which nothing stops any more."""

    begun: bool = False


def deadline_s(request: Request) -> float:
    """The seconds that a request gives us; InvalidRequest where its header makes no sense."""
    if TIMEOUT_MS not in request.headers:
        return DEADLINE_S
    milliseconds = web.number(request, TIMEOUT_MS)
    if not 0 < milliseconds <= DEADLINE_S * 1000:
        raise InvalidRequest(
            "not a time to wait", where=TIMEOUT_MS, got=str(milliseconds), expected=f"1 to {DEADLINE_S:g}000"
        )
    return milliseconds / 1000


async def answered(request: Request, operation: Callable[[Ticket], Awaitable[T]], seconds: float) -> T:
    """Run an operation for a request whose body has been read.

    One that only waits is cancelled when nobody needs its answer any more; one that a worker is busy with
    goes on, because to stop it is to end the worker, which others wait for.

    Raises:
        DeadlineExceeded: the time was up first.
        ClientDisconnect: the client left.
    """
    ticket = Ticket()
    task: asyncio.Task[T] = asyncio.ensure_future(_awaited(operation, ticket))
    gone = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not task.done():
            _let_be(task, ticket)
    if task.done():
        return task.result()
    if gone.done() and not gone.cancelled():
        log.event("client left", begun=ticket.begun)
        raise ClientDisconnect
    raise DeadlineExceeded(
        "the request was not answered in time",
        got="it is being computed still" if ticket.begun else "it waited for others of its model",
        expected=f"within {seconds:g} s",
    )


async def _awaited(operation: Callable[[Ticket], Awaitable[T]], ticket: Ticket) -> T:
    return await operation(ticket)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _let_be(task: asyncio.Task[T], ticket: Ticket) -> None:
    if not ticket.begun:
        task.cancel()
    _LEFT.add(task)
    task.add_done_callback(_forget)


def _forget(task: asyncio.Task[T]) -> None:
    _LEFT.discard(task)
    if not task.cancelled() and task.exception() is not None:
        log.event("a request that nobody waited for failed", reason=str(task.exception()))

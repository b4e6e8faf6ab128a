"""A model's work, in its order and in its time.

A thread that the medium holds cannot be ended. So work whose deadline passes is left behind: whoever
waited goes on, and what follows on the disk for the same model waits until it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeVar

from device_agent import log
from device_agent.activation import State
from device_agent.deadlines import Deadlines

T = TypeVar("T")
CANCEL_S = 5.0  # for what was cut off by its deadline to end its worker


class Pace:
    """The work under way for every model. Used from the event loop's thread only."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._disk: dict[str, asyncio.Future[object]] = {}  # the disk's last piece of work for a model
        self._late: dict[str, asyncio.Future[object]] = {}  # what goes on though nobody waits for it

    async def on_disk(self, name: str, work: Callable[[], T]) -> T:
        """Do a model's work in a thread, after what was begun for that model before."""
        before = self._disk.get(name)
        if before is not None:
            await asyncio.wait({before})
        job: asyncio.Future[T] = asyncio.get_running_loop().run_in_executor(None, work)
        job.add_done_callback(_heard)
        self._disk[name] = job  # type: ignore[assignment]  # Future is invariant; it is only waited for
        return await asyncio.shield(job)

    async def in_time(
        self, state: State, name: str, work: Coroutine[object, object, T], *, goes_on: bool = False
    ) -> T:
        """What `work` returns if the state's deadline does not pass.

        Args:
            state: whose deadline.
            name: the model's.
            work: cut off when it passes,
            goes_on: unless it is to be done even so: then the model is `late` until it is.

        Raises:
            ActivationOverdue: the deadline has passed.
        """
        task = asyncio.ensure_future(work)
        task.add_done_callback(_heard)
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            while not task.done() and (left := self._deadlines.left(state, clock() - began)):
                await asyncio.wait({task}, timeout=left)
        except asyncio.CancelledError:
            await _cut_off(task)
            raise
        if task.done():
            return task.result()
        if goes_on:
            self._late[name] = task  # type: ignore[assignment]  # as above
        else:
            await _cut_off(task)
        raise self._deadlines.overdue(state, name)

    def late(self, name: str) -> bool:
        """Whether work goes on for a model that nobody waits for."""
        return name in self._late

    def when_over(self, name: str, then: Callable[[], None]) -> None:
        """Call `then` once nothing goes on for a model any more: now, or when its late work has ended."""

        def over(_: object = None) -> None:
            self._disk.pop(name, None)
            self._late.pop(name, None)
            then()

        if name in self._late:
            self._late[name].add_done_callback(over)
        else:
            over()


async def _cut_off(task: asyncio.Task[T]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=CANCEL_S)


def _heard(job: asyncio.Future[T]) -> None:
    """Look at a failure that nobody may wait for any more; asyncio would report it as forgotten."""
    if not job.cancelled() and job.exception() is not None:
        log.event("work failed", reason=str(job.exception()))

"""When an agent ends: an on-demand one, shortly after nobody holds it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager

from device_agent import log

START_GRACE_S = 10.0  # for the one who started it to take a lease
LINGER_S = 0.05  # without a lease: the command that let it go waits for its end


class Lifetime:
    """Counts who needs the agent (leases, operations under way) and says when it may end.

    Args:
        on_demand: whether it ends by itself at all.
        end: called, once or more often, when it shall end.
    """

    def __init__(self, end: Callable[[], None], *, on_demand: bool) -> None:
        self.on_demand = on_demand
        self.ending = asyncio.Event()
        self._end = end
        self._holders = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._optional: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wait(START_GRACE_S)

    def keep(self) -> None:
        """Make an on-demand agent a lasting one."""
        self.on_demand = False
        self._disarm()

    def end(self, why: str) -> None:
        """End the agent; streams that only wait are to stop, and operations that need not be finished do."""
        if not self.ending.is_set():
            log.event("ending", reason=why)
        self.ending.set()
        for task in self._optional:
            task.cancel()
        self._end()

    @contextmanager
    def held(self) -> Iterator[None]:
        """While in this context, the agent does not end by itself."""
        self._disarm()
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                self._wait(LINGER_S)

    def run(
        self, operation: Coroutine[object, object, None], *, optional: bool = False
    ) -> asyncio.Task[None]:
        """Run an operation on its own; `drain` ends it if it has not ended by then.

        Args:
            operation: what to run.
            optional: it changes nothing, so that `end` cancels it at once.
        """
        task = asyncio.ensure_future(operation)
        for kept in (self._tasks, self._optional) if optional else (self._tasks,):
            kept.add(task)
            task.add_done_callback(kept.discard)
        if optional and self.ending.is_set():
            task.cancel()
        return task

    async def drain(self) -> None:
        """Cancel the operations under way; what they leave is brought to rest at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wait(self, seconds: float) -> None:
        self._disarm()
        if self.on_demand:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.end, "nobody holds a lease")

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""How long each step of a command takes on the host."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Wall time of each step on the host; `timings_ns` is step -> nanoseconds, in order."""

    def __init__(self) -> None:
        self.timings_ns: dict[str, int] = {}

    @contextmanager
    def step(self, name: str, *, shown: bool = True) -> Iterator[None]:
        """Measure the body; nothing is kept of a step that is not to be shown."""
        begin = time.perf_counter_ns()
        yield
        if shown:
            self.timings_ns[name] = time.perf_counter_ns() - begin

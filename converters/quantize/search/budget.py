"""What a search may use: time, checked between candidates, and memory, checked before it begins as well."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from device_agent.errors import BudgetExceeded

MIB = 1 << 20
# what holds weights while a candidate is built and run, in bytes per parameter: the float graph (4), its
# copy that is rounded (4), the file and the runtime's own copy of it, each float at worst (8)
BYTES_PER_PARAMETER = 16
OVERHEAD = 150 * MIB  # runtimes that are loaded, one sample's activations, statistics


def resident_bytes() -> int:
    """What this process holds in memory now; its peak where the system does not say what it holds now."""
    now = held_by("self")
    if now is not None:
        return now
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def held_by(process: int | str) -> int | None:
    """What a process, by its number, holds in memory now; None where the system does not say."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    lines = (line.split() for line in status.splitlines() if line.startswith("VmRSS:"))
    return next((int(line[1]) * 1024 for line in lines), None)


@define
class Budget:
    """Seconds from now, and bytes of this process; None: as much as it takes.

    `candidate_bytes` is what building and running one candidate is reckoned to take at most, beside what
    is held anyway.
    """

    seconds: float | None = None
    memory: int | None = None
    candidate_bytes: int = 0
    clock: Callable[[], float] = time.monotonic
    resident: Callable[[], int] = resident_bytes
    started: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.started = self.clock()

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return self.clock() - self.started

    def left(self) -> float | None:
        """Seconds that are left, None where there is no limit."""
        return None if self.seconds is None else self.seconds - self.spent

    def over(self) -> str | None:
        """Why the search must end now, None while it may go on."""
        if self.seconds is not None and self.spent >= self.seconds:
            return f"the time budget of {self.seconds:g} s is spent"
        if self.memory is not None:
            held = self.resident()
            if held + self.candidate_bytes > self.memory:
                return (
                    f"the memory budget of {self.memory / MIB:.0f} MiB leaves no room for another candidate: "
                    f"{held / MIB:.0f} MiB are held, and one takes up to {self.candidate_bytes / MIB:.0f} MiB"
                )
        return None


def check(name: str, parameters: int, memory: int | None, held: int) -> int:
    """What one candidate is reckoned to take, in bytes, if that fits.

    Args:
        name: the model's, for the error.
        parameters: elements of all its constants.
        memory: the budget in bytes, None: whatever it takes.
        held: what the process holds already, in bytes.

    Raises:
        BudgetExceeded: it does not fit; nothing has been computed or written.
    """
    needed = parameters * BYTES_PER_PARAMETER + OVERHEAD
    if memory is not None and held + needed > memory:
        raise BudgetExceeded(
            "quantising this model needs more memory than it may use",
            where=name,
            got=f"a budget of {memory / MIB:.0f} MiB",
            expected=f"about {(held + needed) / MIB:.0f} MiB: {held / MIB:.0f} held already, and "
            f"{needed / MIB:.0f} to build and run a model of {parameters:,} parameters",
            next_step=f"Give `--memory-budget {-(-(held + needed) // MIB)}M` or more.",
        )
    return needed

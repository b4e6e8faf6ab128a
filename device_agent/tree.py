"""The processes below one, as /proc has them, and their end."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

ROUNDS = 200  # of killing; a process that forks while it is looked for needs one more
ROUND_S = 0.002


def own_pid() -> int:
    """The pid by which /proc knows this process, which is another than its own in a namespace."""
    return int(Path("/proc/self").readlink().name)


def children(pid: int) -> list[int]:
    """The children of every thread of a process."""
    found: list[int] = []
    for task in _entries(f"/proc/{pid}/task"):
        with suppress(OSError):
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def tasks(pid: int, most: int) -> int:
    """How many threads the processes below one have, counted no further than `most` processes."""
    count, pending = 0, children(pid)
    for _ in range(most):
        if not pending:
            break
        process = pending.pop()
        count += len(_entries(f"/proc/{process}/task"))
        pending += children(process)
    return count + len(pending)


def end(pid: int) -> None:
    """Kill every process below one that adopts orphans, and collect them."""
    for _ in range(ROUNDS):
        pending, found = children(pid), []
        while pending:
            process = pending.pop()
            found.append(process)
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGSTOP)  # before its children are looked for: none is added
            pending += children(process)
        for process in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        if not found:
            return
        time.sleep(ROUND_S)


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - Path.iterdir makes an object of each, in a hot loop
    except OSError:  # it has ended
        return []

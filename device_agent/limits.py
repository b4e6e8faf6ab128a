"""What workers and requests may use: defaults that follow from the machine's memory, changed by environment.

Each field of `Limits` is an environment variable, `EDGE_AGENT_` before its name in capitals:
`EDGE_AGENT_WORKER_MEMORY_BYTES=500000000`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from attrs import fields, frozen

from device_agent.errors import InvalidRequest

PREFIX = "EDGE_AGENT_"
LEAST_WORKER_MEMORY_BYTES = 128 << 20  # a runtime without a model has that much mapped


@frozen
class Limits:
    """What one worker, all workers and all requests together may use."""

    worker_memory_bytes: int
    warm_bytes: int  # that idle workers may keep resident, all together
    worker_tasks: int = 128  # processes and threads of a worker
    worker_open_files: int = 256
    worker_file_bytes: int = 16 << 20  # the longest file a worker may write, but for a cache
    warm_workers: int = 4
    queue: int = 16  # requests of one model that run or wait
    requests: int = 64  # being answered at once, all together
    connections: int = 128
    load_deadline_s: int = 120  # for a worker to load its model
    answer_deadline_s: int = 60  # of one inference in a worker, which is ended then


def defaults(ram_bytes: int) -> Limits:
    """The limits of a machine with that much memory: half of it for one worker, half for idle ones."""
    half = ram_bytes // 2
    return Limits(max(half, LEAST_WORKER_MEMORY_BYTES), half)


def from_environment(environment: Mapping[str, str], ram_bytes: int) -> Limits:
    """The defaults, changed by what the environment says.

    Raises:
        InvalidRequest: a variable is no whole number above zero.
    """
    found = {}
    for field in fields(Limits):
        text = environment.get(PREFIX + field.name.upper())
        if text is None:
            found[field.name] = getattr(defaults(ram_bytes), field.name)
        elif text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 62:
            found[field.name] = int(text)
        else:
            raise InvalidRequest(
                "a limit is no whole number above zero",
                where=PREFIX + field.name.upper(),
                got=repr(text[:40]),
            )
    return Limits(**found)


def of_this_machine() -> Limits:
    """The limits of this process's environment and machine; raises as `from_environment`."""
    return from_environment(os.environ, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))

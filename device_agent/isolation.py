"""How this agent's workers are contained: in systemd units of their own, or in processes that it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from device_agent.confine import NO_NAMESPACES
from device_agent.limits import Limits

WORKER_SOCKET = "EDGE_AGENT_WORKER_SOCKET"  # set by the agent's unit where `edge devices install` made units
UNIT, PROCESS = "unit", "process"
NO_MEMORY_GROUP = "no memory control group"


@frozen
class Isolation:
    """Who makes workers: systemd at `unit_socket`, or the agent; `hide`: what they shall not see."""

    limits: Limits
    unit_socket: Path | None
    hide: tuple[str, ...]

    @property
    def kind(self) -> str:
        """`unit` or `process`."""
        return PROCESS if self.unit_socket is None else UNIT


def choose(environment: Mapping[str, str], limits: Limits, hide: tuple[str, ...]) -> Isolation:
    """The strongest isolation that the agent was given."""
    path = environment.get(WORKER_SOCKET)
    return Isolation(limits, Path(path) if path else None, hide)


def expected_gaps(kind: str, root: Path = Path("/")) -> tuple[str, ...]:
    """What will not be enforced on this machine, before any worker has shown it.

    Args:
        kind: of the isolation.
        root: of the file system that says so.
    """
    if kind == UNIT:
        return () if has_memory_group(root) else (NO_MEMORY_GROUP,)
    return (*(() if _users_make_namespaces(root) else NO_NAMESPACES), NO_MEMORY_GROUP)


def has_memory_group(root: Path) -> bool:
    """Whether the kernel can limit the memory of a control group (a Raspberry Pi's default cannot)."""
    groups = root / "sys/fs/cgroup"
    unified = _read(groups / "cgroup.controllers")
    return "memory" in unified.split() or (not unified and (groups / "memory").is_dir())


def _users_make_namespaces(root: Path) -> bool:
    sysctl = root / "proc/sys"
    return (
        _read(sysctl / "user/max_user_namespaces").strip() != "0"
        and (_read(sysctl / "kernel/unprivileged_userns_clone").strip() != "0" or os.getuid() == 0)
        and _read(sysctl / "kernel/apparmor_restrict_unprivileged_userns").strip() != "1"
    )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # this kernel has no such switch
        return ""

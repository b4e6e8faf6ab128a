"""Start, find and stop the agent of this user on this machine."""

from __future__ import annotations

import time
from pathlib import Path

from device_agent.errors import AgentUnreachable, DeviceError
from device_agent.protocol import AgentInfo
from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.transports.local import POLL_S, LocalTransport, ended

STOP_TIMEOUT_S = 15.0  # a worker may be in the middle of a long run


def start_agent() -> AgentInfo:
    """Make sure that an agent is running which stays when nothing uses it.

    Raises:
        AgentUnreachable: it does not start; says why.
    """
    transport = LocalTransport()
    transport.open()
    try:
        client = AgentClient(transport)
        client.keep()
        info = client.agent()
        client.close()
    finally:
        transport.close()
    return info


def find_agent() -> AgentInfo | None:
    """The agent that is running, None if there is none; starts nothing and holds nothing."""
    client = AgentClient(LocalTransport())
    try:
        return client.agent()
    except AgentUnreachable:
        return None
    finally:
        client.close()


def stop_agent() -> AgentInfo | None:
    """End the agent that is running, and wait until it has ended; None if there was none.

    Raises:
        DeviceError: it does not end.
    """
    info = find_agent()
    if info is None:
        return None
    client = AgentClient(LocalTransport())
    try:
        client.shutdown()
    finally:
        client.close()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while not ended(info.pid):
        if time.monotonic() > deadline:
            raise DeviceError(
                "the agent does not end",
                where=f"process {info.pid}",
                next_step=f"`kill -9 {info.pid}` ends it; what is deployed stays deployed.",
            )
        time.sleep(POLL_S)
    return info


def log_tail(lines: int) -> tuple[Path, list[str]]:
    """The log of agents started on demand, and its last lines; none where no agent has run."""
    path = LocalTransport().log
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return path, []
    except OSError as e:
        raise DeviceError("cannot read the agent's log", where=str(path), got=str(e)) from e
    return path, text.splitlines()[-lines:]

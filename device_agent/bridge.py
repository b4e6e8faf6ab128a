"""`edge-agent connect`: stdin and stdout as a connection to the agent's socket, for an SSH `exec`."""

from __future__ import annotations

import os
import selectors
import socket
from pathlib import Path

from device_agent.errors import AgentUnreachable

_PIECE_BYTES = 1 << 16


def connect(path: Path) -> None:
    """Carry bytes both ways until either side ends.

    The end of stdin ends it too: that is how a host that is gone gives up its lease.

    Raises:
        AgentUnreachable: nothing answers on the socket.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent, selectors.PollSelector() as ready:
        try:
            agent.connect(os.fsencode(path))
        except OSError as e:
            raise AgentUnreachable(
                "no agent answers", where=str(path), got=str(e), next_step="Start it: `edge-agent serve`."
            ) from e
        # poll and not epoll, which refuses a stdin that is a file or /dev/null
        ready.register(0, selectors.EVENT_READ)
        ready.register(agent, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                piece = os.read(0, _PIECE_BYTES) if key.fd == 0 else agent.recv(_PIECE_BYTES)
                if not piece:
                    return
                if key.fd == 0:
                    agent.sendall(piece)
                else:
                    _write_all(1, piece)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]

"""`edge-agent connect`: stdin and stdout as a connection to the agent's socket, for an SSH `exec`.

Each session of a host starts one, so it imports little, and of what sshd writes into its pipe it hands the
pages on uncopied (splice(2)).
"""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
import stat
from contextlib import suppress
from pathlib import Path

from device_agent.errors import AgentUnreachable

_PIECE_BYTES = 1 << 19
_FULL_PACKET_BYTES = 1 << 15  # the most that SSH carries in one: more is on its way
_GATHER_S = 0.002


def connect(path: Path) -> None:
    """Carry bytes both ways until either side ends.

    The end of stdin ends it too: that is how a host that is gone gives up its lease.

    Raises:
        AgentUnreachable: nothing answers on the socket.
    """
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent,
        selectors.PollSelector() as ready,
        selectors.PollSelector() as answers,
    ):
        try:
            agent.connect(os.fsencode(path))
        except OSError as e:
            raise AgentUnreachable(
                "no agent answers", where=str(path), got=str(e), next_step="Start it: `edge-agent serve`."
            ) from e
        with suppress(AttributeError, OSError):  # not Linux, no pipe, or at the user's limit
            fcntl.fcntl(0, fcntl.F_SETPIPE_SZ, _PIECE_BYTES)
        agent.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIECE_BYTES)
        piped = hasattr(os, "splice") and stat.S_ISFIFO(os.fstat(0).st_mode)
        # poll and not epoll, which refuses a stdin that is a file or /dev/null
        for selector in (ready, answers):
            selector.register(agent, selectors.EVENT_READ)
        ready.register(0, selectors.EVENT_READ)
        buffer = memoryview(bytearray(_PIECE_BYTES))
        gathering = False
        while True:
            # of an upload, few large pieces cost the device half of what many small ones do
            events = answers.select(_GATHER_S) if gathering else ready.select()
            gathering = False
            for key, _ in events:
                if key.fd != 0:
                    size = agent.recv_into(buffer)
                    _write_all(1, buffer[:size])
                elif piped:
                    size = os.splice(0, agent.fileno(), _PIECE_BYTES)
                else:
                    size = os.readv(0, [buffer])
                    agent.sendall(buffer[:size])
                if not size:
                    return
                gathering |= key.fd == 0 and size >= _FULL_PACKET_BYTES


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]

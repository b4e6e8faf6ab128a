"""One question to the agent that runs on this machine: what it is. The round trip that proves a release."""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path

from device_agent import codec, errors
from device_agent.errors import AgentUnreachable, InvalidRequest, ProtocolError
from device_agent.protocol import AgentInfo

TIMEOUT_S = 10.0


class _Connection(http.client.HTTPConnection):
    """HTTP to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("agent", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fsencode(self._path))


def ask(path: Path) -> AgentInfo:
    """What the agent that listens on a socket says of itself.

    Raises:
        AgentUnreachable: nothing answers there in time.
        ProtocolError: what answers is not an agent that we understand.
    """
    connection = _Connection(path)
    try:
        connection.request("GET", "/edge/v1/agent")
        response = connection.getresponse()
        body = response.read()
    except OSError as e:
        raise AgentUnreachable(
            "no agent answers", where=str(path), got=str(e), next_step="Start it: `edge-agent serve`."
        ) from e
    except http.client.HTTPException as e:
        raise ProtocolError("the answer is not HTTP", where=str(path), got=repr(e)) from e
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise errors.from_json(body)
    try:
        return codec.from_json(body, AgentInfo, where=str(path))
    except InvalidRequest as e:
        raise ProtocolError("the answer is not an AgentInfo", where=str(path), got=e.got) from e

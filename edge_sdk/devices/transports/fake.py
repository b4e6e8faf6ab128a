"""A real agent with a temporary store: the whole road with nothing left behind."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from device_agent.errors import DeviceError
from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.transports.base import Stream
from edge_sdk.devices.transports.local import LocalTransport


class FakeTransport:
    """Starts an agent of its own at `open`; at `close` it is gone with everything it stored."""

    address = "fake"

    def __init__(self) -> None:
        self._inner: LocalTransport | None = None

    def open(self) -> None:
        """Start the agent in a new temporary folder."""
        folder = Path(tempfile.mkdtemp(prefix="edge-fake-"))
        inner = LocalTransport(folder, address=self.address)
        try:
            inner.open()
        except DeviceError:
            shutil.rmtree(folder)
            raise
        self._inner = inner

    def dial(self) -> Stream:
        """A new connection to the agent."""
        if self._inner is None:
            raise DeviceError("the transport is not open", where=self.address)
        return self._inner.dial()

    def close(self) -> None:
        """End the agent and remove its folder."""
        if self._inner is None:
            return
        inner, self._inner = self._inner, None
        client = AgentClient(inner)
        with suppress(DeviceError):  # it may have been killed
            client.shutdown()  # nobody else can use it: it need not wait for others
        inner.close()
        shutil.rmtree(inner.state_dir)

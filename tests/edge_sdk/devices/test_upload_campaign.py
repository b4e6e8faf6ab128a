"""Uploads over a real SSH server that is cut, to an agent that is killed, and what a redeploy sends.

The full count (200 MB, 30 cuts, 3 kills): `EDGE_CAMPAIGN=full python -m pytest -s` on this file.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.device import Device
from edge_sdk.devices.transports.ssh import SshTransport
from edge_sdk.devices.upload import push
from tests.device_agent.harness import make_bundle
from tests.edge_sdk.devices.test_ssh_transport import MB, big_bundle, relayed
from tests.sshd import CuttingRelay, Sshd, bridge, serving

FULL = os.environ.get("EDGE_CAMPAIGN") == "full"
SIZE, CUTS, KILLS = (200 * MB, 30, 3) if FULL else (24 * MB, 3, 1)


class KilledAgent:
    """An agent that is killed each time so many bytes went through a relay, and started again."""

    def __init__(self, state: Path, relay: CuttingRelay, kills: Sequence[int]) -> None:
        self.kills = 0
        self._stack = ExitStack()
        self._state = state
        self._process = self._stack.enter_context(serving(state))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(relay, kills))
        self._thread.start()

    def _run(self, relay: CuttingRelay, kills: Sequence[int]) -> None:
        for after in kills:
            while relay.sent < after:
                if self._ended.wait(0.002):
                    return
            self._process.kill()
            self._process.wait()
            self._process = self._stack.enter_context(serving(self._state))
            self.kills += 1

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._stack.close()


def test_upload_with_cuts_and_kills(server: Sshd, tmp_path: Path) -> None:
    """The upload completes whatever is cut or killed, and at most a tenth of it is sent twice."""
    points = [SIZE * (n + 1) // (CUTS + KILLS + 1) for n in range(CUTS + KILLS)]
    kills = points[len(points) // (KILLS + 1) :: len(points) // (KILLS + 1)][:KILLS]
    relay = CuttingRelay(server.port, [point for point in points if point not in kills])
    agent = KilledAgent(tmp_path / "state", relay, kills)
    bundle = big_bundle(tmp_path / "bundle", SIZE)
    transport = SshTransport(relayed(server, relay), bridge(tmp_path / "state"))
    begin = time.monotonic()
    transport.open()
    client = AgentClient(transport)
    push(client, bundle, lambda *_: None)
    twice = relay.sent / SIZE - 1
    print(f"{SIZE // MB} MB, {relay.done} cuts, {agent.kills} kills: {time.monotonic() - begin:.1f} s, "
          f"{100 * twice:.1f} % more on the wire than the blob")  # fmt: skip
    assert (CUTS, KILLS) == (relay.done, agent.kills)
    assert client.has_blob(bundle.manifest_digest)
    assert twice <= 0.1  # with what SSH and HTTP add
    client.close()
    transport.close()
    relay.close()
    agent.close()


@pytest.mark.parametrize("padding", [0, 5 * MB])
def test_unchanged_redeploy_sends_little(server: Sshd, agent: Path, tmp_path: Path, padding: int) -> None:
    """Deploying what is there already takes under 20 kB both ways together, SSH's own messages included."""
    bundle = make_bundle(tmp_path, padding=padding)
    counts = []
    for _ in range(2):
        relay = CuttingRelay(server.port)
        with Device("d", None, SshTransport(relayed(server, relay), bridge(agent))) as device:
            device.deploy(bundle)
        counts.append((relay.sent, relay.received))
        relay.close()
    print(f"first deploy: {counts[0]}, unchanged redeploy: {counts[1]} bytes up and down")
    assert counts[0][0] > padding
    assert sum(counts[1]) < 20_000

"""The agent's protocol over SSH: errors of the bridge, broken connections, many streams."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import pytest

from device_agent.bundle import MODEL_TYPE, Bundle, BundleConfig, TensorSpec, write_bundle
from device_agent.errors import AgentUnreachable
from edge_sdk.devices.addresses import SshAddress
from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.transports.ssh import SshTransport
from edge_sdk.devices.upload import push
from tests.sshd import HOST, CuttingRelay, Sshd, bridge, serving

MB = 1_000_000


def big_bundle(folder: Path, size: int) -> Bundle:
    """A bundle with a blob that does not compress."""
    import random

    spec = TensorSpec("x", "float32", (1, 1))
    config = BundleConfig(
        name="big", target="null", architecture="host", runtime="null", runtime_version="1", model="model",
        inputs=(spec,), outputs=(spec,), tolerance={"x": 0.0}, source_sha256="0" * 64,
        precision="float32", golden_samples=0,
    )  # fmt: skip
    return write_bundle(folder, config, {"model": (MODEL_TYPE, random.Random(0).randbytes(size))})


def relayed(server: Sshd, relay: CuttingRelay) -> Any:
    """Settings that go through a relay."""
    address = SshAddress(HOST, getpass.getuser(), relay.port)
    return server.settings(address=address, host_key=server.host_key)


def test_no_agent_installed(server: Sshd) -> None:
    """A device without `edge-agent` is said to have none, and how it gets one."""
    with pytest.raises(AgentUnreachable, match="no agent is installed") as caught:
        SshTransport(server.settings(), "edge-agent-that-is-not-there connect").open()
    assert "not found" in (caught.value.got or "")
    assert "edge devices install" in str(caught.value)


def test_agent_that_does_not_run(server: Sshd, tmp_path: Path) -> None:
    """Where the bridge finds no agent, the error holds what it wrote."""
    with pytest.raises(AgentUnreachable, match="bridge on the device ended") as caught:
        SshTransport(server.settings(), bridge(tmp_path / "nobody")).open()
    assert "no agent answers" in (caught.value.got or "")


def test_upload_survives_cuts(server: Sshd, agent: Path, tmp_path: Path) -> None:
    """An upload whose connection is cut again and again ends whole, and little is sent twice."""
    cuts = [int(n * 2.5 * MB) for n in range(1, 6)]
    relay = CuttingRelay(server.port, cuts)
    bundle = big_bundle(tmp_path / "bundle", 16 * MB)
    transport = SshTransport(relayed(server, relay), bridge(agent))
    transport.open()
    client = AgentClient(transport)
    push(client, bundle, lambda *_: None)
    assert len(cuts) == relay.done
    assert client.has_blob(bundle.manifest_digest)
    assert relay.sent < 16 * MB + len(cuts) * 2.2 * MB
    client.close()
    transport.close()
    relay.close()


def test_agent_killed_and_started_again(server: Sshd, tmp_path: Path) -> None:
    """After the agent behind a connection was replaced, the same transport reaches the new one."""
    state = tmp_path / "state"
    with serving(state) as first:
        transport = SshTransport(server.settings(), bridge(state))
        transport.open()
        client = AgentClient(transport)
        assert first.pid == client.agent().pid
        first.kill()
        first.wait()
    with pytest.raises(AgentUnreachable):
        client.agent()
    with serving(state) as second:
        assert second.pid == client.agent().pid
        client.close()
        transport.close()


def test_more_streams_than_one_connection_has(server: Sshd, agent: Path) -> None:
    """Past sshd's MaxSessions (ten) further connections are made."""
    transport = SshTransport(server.settings(), bridge(agent))
    transport.open()
    clients = [AgentClient(transport) for _ in range(14)]
    assert 1 == len({client.agent().pid for client in clients})
    for client in clients:
        client.close()
    transport.close()


def test_lease_keeps_an_on_demand_agent(server: Sshd, tmp_path: Path) -> None:
    """An on-demand agent stays while the transport is open, and ends when it is closed."""
    state = tmp_path / "state"
    with serving(state, ["--on-demand"]) as process:
        transport = SshTransport(server.settings(), bridge(state))
        transport.open()
        assert process.poll() is None
        transport.close()
        process.wait(10)

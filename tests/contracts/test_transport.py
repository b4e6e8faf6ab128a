"""What every transport must do, run against each of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.errors import DeviceError
from device_agent.protocol import PROTOCOL_VERSION
from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.transports.base import Transport
from edge_sdk.devices.transports.fake import FakeTransport
from edge_sdk.devices.transports.local import LocalTransport
from edge_sdk.devices.transports.ssh import SshTransport
from tests.sshd import bridge, serving, sshd


@pytest.fixture(params=["local", "fake", "ssh"])
def transport(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Transport]:
    """A transport of each kind, not open yet."""
    state = tmp_path / "state"
    if request.param == "ssh":
        with sshd(tmp_path / "sshd") as server, serving(state):
            over_ssh = SshTransport(server.settings(), bridge(state))
            yield over_ssh
            over_ssh.close()
        return
    made: Transport = FakeTransport() if request.param == "fake" else LocalTransport(state)
    yield made
    made.close()


def test_dial_before_open_is_our_error(transport: Transport) -> None:
    """Without an agent, dialling fails as a DeviceError and names the device."""
    with pytest.raises(DeviceError) as caught:
        transport.dial()
    assert transport.address == caught.value.where


def test_open_makes_an_agent_answer(transport: Transport) -> None:
    """After `open` an agent of this protocol answers."""
    transport.open()
    client = AgentClient(transport)
    assert PROTOCOL_VERSION == client.agent().protocol
    client.close()


def test_streams_are_independent(transport: Transport) -> None:
    """Each dial gives a stream of its own; closing one leaves the other."""
    transport.open()
    first, second = transport.dial(), transport.dial()
    first.close()
    second.settimeout(10)
    second.sendall(b"GET /edge/v1/agent HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")
    with second.makefile("rb") as answer:
        assert b"HTTP/1.1 200 OK\r\n" == answer.readline()
        assert answer.read().endswith(b"}")
    second.close()


def test_recv_ends_with_the_stream(transport: Transport) -> None:
    """After the agent has closed its side, `recv` gives no more bytes."""
    transport.open()
    stream = transport.dial()
    stream.settimeout(10)
    stream.sendall(b"GET /edge/v1/agent HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")
    received = b""
    while chunk := stream.recv(4096):
        received += chunk
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    stream.close()


def test_timeout_is_a_timeout_error(transport: Transport) -> None:
    """A stream that is silent longer than its timeout raises TimeoutError."""
    transport.open()
    stream = transport.dial()
    stream.settimeout(0.05)
    with pytest.raises(TimeoutError):
        stream.recv(1)
    stream.close()


def test_after_close_nothing_answers(transport: Transport) -> None:
    """An agent that was started for the transport has ended when `close` returns; closing again is fine."""
    transport.open()
    transport.close()
    with pytest.raises(DeviceError):
        transport.dial()
    transport.close()


def test_can_be_opened_again(transport: Transport) -> None:
    """A transport that was closed can be opened once more."""
    for _ in range(2):
        transport.open()
        client = AgentClient(transport)
        assert client.models() == ()
        client.close()
        transport.close()

"""Forwarding a TCP port to an agent's socket."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from device_agent.errors import AgentUnreachable, DeviceError
from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.forward import Forwarder
from edge_sdk.devices.transports.local import LocalTransport


@pytest.fixture
def failures() -> list[AgentUnreachable]:
    """The failures that the forwarder reports."""
    return []


@pytest.fixture
def forwarder(transport: LocalTransport, failures: list[AgentUnreachable]) -> Iterator[Forwarder]:
    """A forwarder to a real agent, serving in a thread."""
    made = Forwarder(transport, "127.0.0.1", 0, failures.append)
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield made
    made.stop()
    thread.join()
    made.close()


def test_requests_go_through(forwarder: Forwarder) -> None:
    """An HTTP client on the TCP port reaches the agent, several requests to a connection."""
    connection = http.client.HTTPConnection(*forwarder.address, timeout=10)
    for _ in range(3):
        connection.request("GET", "/v2/health/live")
        answer = connection.getresponse()
        answer.read()
        assert 200 == answer.status
    connection.close()


def test_connections_are_relayed_at_once(forwarder: Forwarder) -> None:
    """A connection that is open and silent does not hold others up."""
    with socket.create_connection(forwarder.address, timeout=10):
        connection = http.client.HTTPConnection(*forwarder.address, timeout=10)
        connection.request("GET", "/edge/v1/agent")
        assert "pid" in json.loads(connection.getresponse().read())
        connection.close()


def test_agent_that_is_gone_ends_the_connection(
    forwarder: Forwarder, transport: LocalTransport, failures: list[AgentUnreachable]
) -> None:
    """Without an agent a connection is closed and the failure reported; the relay goes on."""
    AgentClient(transport).shutdown()
    transport.close()
    with socket.create_connection(forwarder.address, timeout=10) as connection:
        assert b"" == connection.recv(1)
    assert 1 == len(failures)


def test_port_in_use_is_named(transport: LocalTransport) -> None:
    """A port that something else listens on is an error that names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(DeviceError, match="--port 0"):
        Forwarder(transport, "127.0.0.1", taken.getsockname()[1], lambda _error: None)


def test_host_that_is_not_ours(transport: LocalTransport) -> None:
    """An address that this machine does not have is an error that names it."""
    with pytest.raises(DeviceError, match=r"192\.0\.2\.1"):
        Forwarder(transport, "192.0.2.1", 0, lambda _error: None)

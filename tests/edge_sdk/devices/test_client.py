"""The agent's client: the answers it understands, and what it makes of those it does not."""

import os
import signal
from collections.abc import Callable

import pytest

from device_agent.errors import (
    AgentUnreachable,
    DeploymentConflict,
    EdgeError,
    ProtocolError,
    UnknownModel,
)
from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.connection import AgentConnection, mapped
from edge_sdk.devices.transports.base import Transport
from edge_sdk.devices.transports.local import LocalTransport

EVENTS = "Content-Type: application/x-ndjson\r\n"


def test_agent_describes_itself(client: AgentClient) -> None:
    """The description holds the machine, its runtimes and the agent's process."""
    info = client.agent()
    assert info.cpu_count == os.cpu_count()
    assert "null" in {runtime.name for runtime in info.runtimes}
    os.kill(info.pid, 0)


def test_connection_is_kept(client: AgentClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small requests share one connection."""
    dials = 0
    dial = LocalTransport.dial

    def counted(self: LocalTransport) -> object:
        nonlocal dials
        dials += 1
        return dial(self)

    monkeypatch.setattr(LocalTransport, "dial", counted)
    counting = AgentClient(client._transport)
    for _ in range(3):
        counting.models()
    counting.close()
    assert 1 == dials


def test_a_kept_connection_that_the_agent_closed_is_dialled_anew(scripted: Callable[..., Transport]) -> None:
    """An answer that ends a kept connection does not make the next request fail."""
    keep = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"  # promises to stay, and closes
    client = AgentClient(scripted(keep, keep))
    assert () == client.models()
    assert () == client.models()
    client.close()


def test_errors_of_the_agent_keep_their_class(client: AgentClient) -> None:
    """What the agent refuses comes out as the error it raised there."""
    with pytest.raises(UnknownModel, match="nosuch"):
        client.model("nosuch")
    with pytest.raises(UnknownModel):
        list(client.rollback("nosuch"))


def test_names_are_quoted(client: AgentClient) -> None:
    """A name that would be another path is refused by the agent, not resolved."""
    with pytest.raises(EdgeError):
        client.model("../agent")


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", AgentUnreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n[", AgentUnreachable),
        (b"SSH-2.0-OpenSSH_9.9\r\n", ProtocolError),
    ],
)
def test_peers_that_do_not_speak_http(
    raw: bytes, error: type[EdgeError], scripted: Callable[..., Transport]
) -> None:
    """A peer that hangs up or speaks something else is one of our errors."""
    client = AgentClient(scripted(raw))
    with pytest.raises(error):
        client.models()
    client.close()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        ("200 OK", b"not json", ProtocolError),
        ("200 OK", b'[{"name": 1}]', ProtocolError),
        ("200 OK", b"7", ProtocolError),
        ("500 Internal Server Error", b"<html>", ProtocolError),
        ("400 Bad Request", b'{"error": "?", "code": "from_the_future"}', ProtocolError),
        ("409 Conflict", b'{"error": "no", "what": "no", "code": "conflict"}', DeploymentConflict),
    ],
)
def test_bad_answers_are_our_errors(
    status: str,
    body: bytes,
    error: type[EdgeError],
    scripted: Callable[..., Transport],
    answer: Callable[..., bytes],
) -> None:
    """Whatever an agent answers, the caller sees the error it holds, or that it makes no sense."""
    client = AgentClient(scripted(answer(body, status)))
    with pytest.raises(error):
        client.models()
    client.close()


def test_another_protocol_version_is_named(
    scripted: Callable[..., Transport], answer: Callable[..., bytes]
) -> None:
    """An agent of another version is refused before its other fields are looked at."""
    client = AgentClient(scripted(answer(b'{"protocol": 99, "new": true}')))
    with pytest.raises(ProtocolError, match="got 99, expected 1"):
        client.agent()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"kind": "state", "state": "PREFLIGHT"}\n', AgentUnreachable),
        (b"", AgentUnreachable),
        (b"{}\n", ProtocolError),
        (b"gibberish\n", ProtocolError),
        (
            b'{"kind": "error", "error": {"error": "x", "what": "x", "code": "conflict"}}\n',
            DeploymentConflict,
        ),
        (b'{"kind": "error"}\n', ProtocolError),
    ],
)
def test_event_streams_must_end_with_a_result(
    body: bytes, error: type[EdgeError], scripted: Callable[..., Transport], answer: Callable[..., bytes]
) -> None:
    """A stream that ends early, or holds something else, is an error and never a silent success."""
    client = AgentClient(scripted(answer(body, headers=EVENTS)))
    with pytest.raises(error):
        list(client.rollback("toy"))


def test_agent_killed_between_requests(client: AgentClient) -> None:
    """A request to an agent that is gone says that nothing answers, and what to do."""
    os.kill(client.agent().pid, signal.SIGKILL)
    with pytest.raises(AgentUnreachable, match="edge agent"):
        client.models()


def test_silence_is_a_timeout(transport: LocalTransport) -> None:
    """An answer that does not come in time is an AgentUnreachable that says so."""
    connection = AgentConnection(transport.dial, timeout_s=0.05)
    connection.connect()
    with pytest.raises(AgentUnreachable, match="in time"), mapped("local"):
        connection.sock.recv(1)
    connection.close()

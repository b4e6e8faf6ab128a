"""The table of foreign errors."""

import inspect
import socket

import paramiko
import pytest
from paramiko import ssh_exception

from device_agent.errors import AgentUnreachable, EdgeError
from edge_sdk.devices.ssh_errors import TABLE, explain, mapped

CLASSES = [
    kind
    for _, kind in inspect.getmembers(ssh_exception, inspect.isclass)
    if kind.__module__ == ssh_exception.__name__
]
KEY = paramiko.RSAKey.generate(1024)
ARGUMENTS = {
    "BadAuthenticationType": ("no", ["password"]),
    "PartialAuthentication": (["password"],),
    "ChannelException": (1, "no"),
    "BadHostKeyException": ("host", KEY, KEY),
    "ProxyCommandFailure": ("nc", "gone"),
    "NoValidConnectionsError": ({("127.0.0.1", 22): OSError("no")},),
}


def test_the_classes_were_found() -> None:
    """paramiko's module still holds them."""
    assert len(CLASSES) >= 14


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_paramiko_exception_has_its_row(kind: type[Exception]) -> None:
    """Each class stands in the table itself, and becomes an error of ours with what to do."""
    assert kind.__name__ in TABLE
    error = kind(*ARGUMENTS.get(kind.__name__, ("it broke",)))
    with pytest.raises(EdgeError) as caught, mapped("there"):
        raise error
    assert error is caught.value.__cause__
    assert "there" == caught.value.where
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            socket.gaierror(-2, "Name or service not known"),
            "no host of this name is found: got Name",
        ),
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens on the SSH port"),
        (ConnectionResetError(104, "Connection reset by peer"), "the SSH connection was cut"),
        (BrokenPipeError(), "the SSH connection was cut"),
        (TimeoutError(), "did not answer in time"),
        (EOFError(), "the SSH connection ended"),
        (OSError(113, "No route to host"), "cannot be connected to: got No route to host"),
        (OSError(101, "Network is unreachable"), "cannot be connected to: got Network is unreachable"),
    ],
)
def test_socket_errors(error: Exception, words: str) -> None:
    """Each kind of socket error says what it means."""
    found = explain(error, "pi")
    assert isinstance(found, AgentUnreachable)
    assert words in str(found)


def test_ours_pass() -> None:
    """An error that is ours already is left as it is."""
    ours = AgentUnreachable("x")
    with pytest.raises(AgentUnreachable) as caught, mapped("there"):
        raise ours
    assert ours is caught.value

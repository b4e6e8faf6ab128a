"""Errors of paramiko and of sockets as ours, each class once.

The classes go by name, so that reading this table imports nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from device_agent.errors import AgentUnreachable, EdgeError, InvalidRequest, ProtocolError

_AWAY = "Is the device on, and in this network? `edge devices doctor` looks at each step of the way."
_AGAIN = "Run the command again; `edge devices doctor` looks at each step of the way."
_KEYS = (
    "Give the right key with `edge devices add ... --identity FILE`, load it with `ssh-add`, or put its "
    "public half into ~/.ssh/authorized_keys on the device (`ssh-copy-id`)."
)
_CONFIG = "Correct ~/.ssh/config; ssh_config(5) describes it."

Row = tuple[type[EdgeError], str, str]  # our class, what happened, what to do

# class name -> what it becomes; the most derived class that has a row decides
TABLE: dict[str, Row] = {
    # paramiko.ssh_exception
    "SSHException": (AgentUnreachable, "the SSH connection failed", _AGAIN),
    "AuthenticationException": (AgentUnreachable, "the device refused every key", _KEYS),
    "PasswordRequiredException": (
        AgentUnreachable,
        "the key is encrypted and there is no passphrase for it",
        "Load it with `ssh-add`, or set EDGE_SSH_PASSPHRASE.",
    ),
    "BadAuthenticationType": (
        AgentUnreachable,
        "the device does not take keys",
        "Allow PubkeyAuthentication in its sshd_config; passwords are never used.",
    ),
    "PartialAuthentication": (
        AgentUnreachable,
        "the device wants more than a key",
        "Let a key be enough for this user: AuthenticationMethods in its sshd_config.",
    ),
    "UnableToAuthenticate": (AgentUnreachable, "the device refused every key", _KEYS),
    "ChannelException": (
        AgentUnreachable,
        "the SSH server refused to open a channel",
        "MaxSessions, AllowTcpForwarding and PermitOpen in its sshd_config limit them.",
    ),
    "BadHostKeyException": (
        AgentUnreachable,
        "the host's key is not the one it is known by",
        "Nothing was sent to it. See `edge devices doctor`.",
    ),
    "IncompatiblePeer": (
        AgentUnreachable,
        "this machine and the device have no SSH algorithm in common",
        "Update the device's OpenSSH; algorithms that are no longer safe are not offered.",
    ),
    "ProxyCommandFailure": (AgentUnreachable, "the ProxyCommand failed", _CONFIG),
    "NoValidConnectionsError": (AgentUnreachable, "the host cannot be connected to", _AWAY),
    "CouldNotCanonicalize": (InvalidRequest, "the host's name cannot be made canonical", _CONFIG),
    "ConfigParseError": (InvalidRequest, "the SSH configuration makes no sense", _CONFIG),
    "MessageOrderError": (
        ProtocolError,
        "the SSH server broke the order of the handshake: somebody may be in between",
        "Nothing was sent to it. Find out what answers at this address.",
    ),
    # elsewhere in paramiko
    "SFTPError": (ProtocolError, "the device's SFTP server made no sense", _AGAIN),
    "UnknownKeyType": (InvalidRequest, "a key of a kind that is not supported", _KEYS),
    # sockets
    "gaierror": (AgentUnreachable, "no host of this name is found", _AWAY),
    "ConnectionRefusedError": (
        AgentUnreachable,
        "nothing listens on the SSH port",
        "Is the SSH server enabled on the device, and the port the right one?",
    ),
    "ConnectionResetError": (AgentUnreachable, "the SSH connection was cut", _AGAIN),
    "ConnectionAbortedError": (AgentUnreachable, "the SSH connection was cut", _AGAIN),
    "BrokenPipeError": (AgentUnreachable, "the SSH connection was cut", _AGAIN),
    "TimeoutError": (AgentUnreachable, "the device did not answer in time", _AWAY),
    "EOFError": (AgentUnreachable, "the SSH connection ended", _AGAIN),
    "OSError": (AgentUnreachable, "the host cannot be connected to", _AWAY),
}


def explain(error: Exception, where: str) -> EdgeError:
    """The error of ours that a foreign one becomes.

    Args:
        error: one of paramiko's, an OSError or an EOFError.
        where: the device, hop or file it came up at.
    """
    kind, what, next_step = next(
        TABLE[base.__name__] for base in type(error).__mro__ if base.__name__ in TABLE
    )
    return kind(what, where=where, got=words(error), next_step=next_step)


def words(error: Exception) -> str | None:
    """What a foreign error says of itself; None where it says nothing."""
    if isinstance(error, socket.gaierror):
        return error.strerror
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or None


@contextmanager
def mapped(where: str) -> Iterator[None]:
    """Errors of paramiko and of sockets as ours; `where` says at what device, hop or file."""
    import paramiko
    from paramiko.pkey import UnknownKeyType
    from paramiko.sftp import SFTPError

    try:
        yield
    except EdgeError:
        raise
    except (paramiko.SSHException, UnknownKeyType, SFTPError, OSError, EOFError) as e:
        raise explain(e, where) from e

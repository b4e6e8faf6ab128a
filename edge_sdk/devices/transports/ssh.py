"""An agent on another machine, reached over SSH: each stream is a channel that runs the agent's bridge."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Literal

from device_agent.errors import AgentUnreachable, DeviceError, EdgeError
from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.connection import Lease
from edge_sdk.devices.ssh import PACKET_BYTES, SshConnection, SshSettings
from edge_sdk.devices.ssh_errors import mapped
from edge_sdk.devices.ssh_keys import Ask, ask_for_passphrase

if TYPE_CHECKING:
    import paramiko
    from _typeshed import WriteableBuffer

# the shell of an SSH command reads no profile, so the folder that `edge devices install` uses is named
DEFAULT_AGENT_COMMAND = """sh -c 'PATH="$HOME/.local/bin:/usr/local/bin:$PATH" exec edge-agent connect'"""
MAX_CONNECTIONS = 8  # sshd allows ten sessions a connection by default; more streams take more connections
READ_BYTES = 1 << 16
PIECE_BYTES = PACKET_BYTES - 64  # the most of it that paramiko puts into one packet
STDERR_BYTES = 2000  # shown of what a bridge wrote
STATUS_WAIT_S = 2.0  # the exit status comes right after the end of the stream
LINGER_S = 1.5  # an on-demand agent without leases has closed its socket well before
POLL_S = 0.05
NOT_EXECUTABLE, NOT_FOUND = 126, 127  # of POSIX shells


class SshTransport:
    """Reaches the agent of a device over SSH; see `Transport`.

    A connection that was lost is made again by the next `dial`, so an upload goes on where it stopped.

    Args:
        settings: how to reach the device.
        agent_command: the shell command there that carries stdin and stdout to the agent's socket.
        ask: gives the passphrase of a key file.
    """

    def __init__(
        self,
        settings: SshSettings,
        agent_command: str = DEFAULT_AGENT_COMMAND,
        ask: Ask = ask_for_passphrase,
    ) -> None:
        self.address = settings.name
        self._settings = settings
        self._command = agent_command
        self._ask = ask
        self._lock = threading.RLock()
        self._connections: list[SshConnection] = []  # the first holds the lease
        self._lease: Lease | None = None
        self._begun: list[SshStream] = []  # streams whose bridges start while others are waited for

    def open(self) -> None:
        """Connect, and take a lease of the agent there."""
        with self._lock:
            self._connections = [SshConnection(self._settings, self._ask)]
            try:
                self._take_lease()
            except BaseException:
                self.close()
                raise

    def dial(self) -> SshStream:
        """A new stream; connects again where the connection was lost."""
        with self._lock:
            if not self._connections:
                raise DeviceError("the transport is not open", where=self.address)
            if not self._connections[0].alive:
                self._take_lease()
            while self._begun:
                stream = self._begun.pop()
                if stream.alive:
                    return stream
            return self._dial()

    def close(self) -> None:
        """Give the lease up and end the connections."""
        with self._lock:
            lease, self._lease = self._lease, None
            try:
                if lease is not None:
                    self._let_go(lease)
            finally:
                connections, self._connections = self._connections, []
                for connection in connections:
                    connection.close()

    def _take_lease(self) -> None:
        """Take a lease over a new connection; the one before went with its connection.

        Raises:
            ProtocolError: the agent there speaks another version of the protocol.
        """
        if self._lease is not None:
            self._lease.release()
            self._lease = None
        self._connections[0].connect()
        # a session takes a device long to start (a shell, then Python), two at once hardly longer
        self._begun = [self._dial(), self._dial()]
        client = AgentClient(self)
        try:
            client.agent()
            self._lease = client.into_lease()
        finally:
            client.close()

    def _let_go(self, lease: Lease) -> None:
        """Release a lease; wait until an on-demand agent that no other host uses has ended."""
        try:
            on_demand = self._connections[0].alive and self._describe()
        except EdgeError:
            on_demand = False  # it has died
        lease.release()
        deadline = time.monotonic() + LINGER_S
        while on_demand and time.monotonic() < deadline:
            time.sleep(POLL_S)
            try:
                self._describe()
            except EdgeError:
                return

    def _describe(self) -> bool:
        """Whether the agent there is an on-demand one; ProtocolError where it speaks another version."""
        client = AgentClient(self)
        try:
            return client.agent().on_demand
        finally:
            client.close()

    def _dial(self) -> SshStream:
        import paramiko

        for connection in self._connections:
            try:
                return self._dial_over(connection)
            except AgentUnreachable as e:
                full = isinstance(e.__cause__, paramiko.ChannelException)
                if not full or len(self._connections) == MAX_CONNECTIONS:
                    raise
        self._connections.append(SshConnection(self._settings, self._ask))
        return self._dial_over(self._connections[-1])

    def _dial_over(self, connection: SshConnection) -> SshStream:
        channel = connection.open_session()
        with mapped(self.address):
            channel.exec_command(self._command)
        return SshStream(channel, self.address, self._command)


class SshStream:
    """A channel that runs the agent's bridge, as a `Stream`.

    A bridge that ended with an error makes `recv` raise AgentUnreachable with what it wrote to stderr.
    """

    def __init__(self, channel: paramiko.Channel, address: str, command: str) -> None:
        self._channel = channel
        self._address = address
        self._command = command
        self._files = 0
        self._closed = False
        self._ended_here = False  # then the bridge's end is no news

    @property
    def alive(self) -> bool:
        """Whether its bridge runs, as far as is known."""
        return not (self._channel.closed or self._channel.exit_status_ready())

    def sendall(self, data: bytes, /) -> None:
        """Send all of `data`; BrokenPipeError where the other end is gone."""
        view = memoryview(data)
        while view:
            try:
                with _socket_errors():
                    # bytes() of a piece: paramiko would copy what is left of `data` for each packet
                    sent = self._channel.send(bytes(view[:PIECE_BYTES]))
            except BrokenPipeError:
                self._raise_failure()
                raise
            if sent == 0:
                self._raise_failure()
                raise BrokenPipeError("the channel is closed")
            view = view[sent:]

    def recv(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty where the agent closed the stream."""
        with _socket_errors():
            data: bytes = self._channel.recv(size)
        if not data and not self._ended_here:
            self._raise_failure()
        return data

    def makefile(self, mode: Literal["rb"], /) -> IO[bytes]:  # noqa: ARG002 - a socket's signature
        """The stream as a file; as with a socket, `close` waits for it."""
        self._files += 1
        return io.BufferedReader(_Reader(self), READ_BYTES)

    def settimeout(self, seconds: float | None, /) -> None:
        """Bound each `recv` and `sendall`."""
        self._channel.settimeout(seconds)

    def shutdown(self, how: int, /) -> None:
        """End sending, or both ways."""
        self._ended_here = True
        with _socket_errors():
            if how == socket.SHUT_RDWR:
                self._channel.close()
            else:
                self._channel.shutdown(how)

    def close(self) -> None:
        """Close once no file is left that reads from it."""
        self._closed = True
        self._close_unused()

    def file_closed(self) -> None:
        """Told by a file of `makefile`."""
        self._files -= 1
        self._close_unused()

    def _close_unused(self) -> None:
        if self._closed and self._files <= 0:
            self._ended_here = True
            with suppress(OSError), _socket_errors():  # the connection may have gone first
                self._channel.close()

    def _raise_failure(self) -> None:
        """Raise what made the stream end, unless its bridge simply ended."""
        self._channel.status_event.wait(STATUS_WAIT_S)
        status = self._channel.exit_status
        if status == 0:
            return
        stderr = self._stderr()
        if status == -1 and not stderr:  # no status: the connection was cut, or somebody killed the bridge
            raise ConnectionResetError("the SSH channel ended")
        if status in {NOT_EXECUTABLE, NOT_FOUND}:
            raise AgentUnreachable(
                "no agent is installed on the device",
                where=self._address,
                got=stderr or f"exit status {status} of {self._command!r}",
                next_step="`edge devices install` installs one; where it has one that is not on the PATH, "
                "name it with `edge devices add ... --agent-command`.",
            )
        raise AgentUnreachable(
            "the agent's bridge on the device ended",
            where=self._address,
            got=stderr or f"exit status {status} of {self._command!r}",
            next_step="`edge devices doctor` looks at each step of the way.",
        )

    def _stderr(self) -> str:
        written = b""
        self._channel.settimeout(STATUS_WAIT_S)
        while len(written) < STDERR_BYTES and self._channel.recv_stderr_ready():
            written += self._channel.recv_stderr(STDERR_BYTES)
        return "; ".join(written.decode(errors="replace").strip().splitlines()[-3:])


@contextmanager
def _socket_errors() -> Iterator[None]:
    """What paramiko raises where a connection is gone, as a socket would have it."""
    import paramiko

    try:
        yield
    except TimeoutError:
        raise
    except (paramiko.SSHException, EOFError, OSError) as e:
        raise BrokenPipeError(str(e) or "the SSH connection is gone") from e


class _Reader(io.RawIOBase):
    """A stream as a raw file."""

    def __init__(self, stream: SshStream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._stream.recv(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.file_closed()
        super().close()

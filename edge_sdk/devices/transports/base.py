"""What a transport must do: make sure that an agent is there, and open byte streams to it."""

from __future__ import annotations

from typing import IO, Literal, Protocol


class Stream(Protocol):
    """A connected byte stream with the methods of a socket that HTTP and forwarding need."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of `data`."""
        ...

    def recv(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty at the end of the stream."""
        ...

    def makefile(self, mode: Literal["rb"], /) -> IO[bytes]:
        """The stream to read from as a buffered file; closing the file leaves the stream open."""
        ...

    def settimeout(self, seconds: float | None, /) -> None:
        """Bound each `recv` and `sendall`; past it they raise TimeoutError."""
        ...

    def shutdown(self, how: int, /) -> None:
        """End sending (`socket.SHUT_WR`) or both ways (`SHUT_RDWR`); the peer sees the end of the stream."""
        ...

    def close(self) -> None:
        """Give the stream up."""
        ...


class Transport(Protocol):
    """A way to an agent's Unix socket. `address` names it in messages.

    Used from several threads at once between `open` and `close`. Errors of its own kind (socket, SSH)
    leave it as AgentUnreachable, with the foreign error as the cause.
    """

    address: str

    def open(self) -> None:
        """Make sure that an agent can be reached, and keep it from ending until `close`.

        Raises:
            AgentUnreachable: there is none and none could be started; says why.
        """
        ...

    def dial(self) -> Stream:
        """A new stream to the agent.

        Raises:
            AgentUnreachable: nothing answers there.
        """
        ...

    def close(self) -> None:
        """Let the agent go; returns once an agent that ends without us has ended. May be called twice."""
        ...

"""Peers that misbehave, for the tests of the host's side of the wire."""

import socket
import threading
from collections.abc import Callable

import pytest

from edge_sdk.devices.transports.base import Stream, Transport


class ScriptedTransport:
    """Each dial reaches a peer that reads a request's head and sends the next of `answers`, then closes."""

    address = "scripted"

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)

    def open(self) -> None:
        """Nothing to do."""

    def dial(self) -> socket.socket:
        """A new stream to the peer."""
        ours, theirs = socket.socketpair()
        threading.Thread(target=self._answer, args=(theirs, self._answers.pop(0)), daemon=True).start()
        return ours

    def close(self) -> None:
        """Nothing to do."""

    @staticmethod
    def _answer(peer: socket.socket, answer: bytes) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += peer.recv(4096)
        peer.sendall(answer)
        peer.close()


class BreakingTransport:
    """A real transport whose first `breaks` streams break, each after `limit` bytes were sent on it."""

    def __init__(self, inner: Transport, *, breaks: int, limit: int) -> None:
        self.address = inner.address
        self.breaks = breaks
        self._inner = inner
        self._limit = limit

    def open(self) -> None:
        """The inner one is open."""

    def dial(self) -> Stream:
        """A stream that may break."""
        stream = self._inner.dial()
        if not self.breaks:
            return stream
        return _BreakingStream(stream, self)

    def close(self) -> None:
        """The inner one is closed by who opened it."""

    @property
    def limit(self) -> int:
        """Bytes after which a stream breaks."""
        return self._limit


class _BreakingStream:
    def __init__(self, inner: Stream, transport: BreakingTransport) -> None:
        self._inner = inner
        self._transport = transport
        self._sent = 0
        self.recv, self.makefile, self.settimeout = inner.recv, inner.makefile, inner.settimeout
        self.shutdown, self.close = inner.shutdown, inner.close

    def sendall(self, data: bytes, /) -> None:
        self._sent += len(data)
        if self._sent > self._transport.limit and self._transport.breaks:
            self._transport.breaks -= 1
            self._inner.sendall(data[: len(data) // 2])
            self._inner.close()
            raise ConnectionResetError("broken by the test")
        self._inner.sendall(data)


def http_answer(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """An HTTP answer that ends the connection."""
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


@pytest.fixture
def scripted() -> type[ScriptedTransport]:
    """Makes a transport to a peer that sends given bytes."""
    return ScriptedTransport


@pytest.fixture
def breaking() -> type[BreakingTransport]:
    """Makes a transport whose connections break."""
    return BreakingTransport


@pytest.fixture
def answer() -> Callable[..., bytes]:
    """Makes an HTTP answer."""
    return http_answer

"""Relay a local TCP port to an agent's socket, so that any inference client can use it."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable

from device_agent.errors import AgentUnreachable, DeviceError
from edge_sdk.devices.transports.base import Stream, Transport

CHUNK_BYTES = 1 << 16


class Forwarder:
    """A TCP server each of whose connections is relayed to a new stream of the transport.

    Args:
        transport: an open one.
        host: the address to listen on; whoever can reach it can use the device's models.
        port: 0 picks a free one.
        failed: told of each connection for which the agent could not be reached.

    Raises:
        DeviceError: the port cannot be listened on.
    """

    def __init__(
        self, transport: Transport, host: str, port: int, failed: Callable[[AgentUnreachable], None]
    ) -> None:
        class Relay(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                try:
                    stream = transport.dial()
                except AgentUnreachable as e:
                    failed(e)
                    return
                relay(self.request, stream)

        try:
            self._server = _Server((host, port), Relay)
        except (OSError, OverflowError) as e:
            raise DeviceError(
                "cannot listen on the port",
                where=f"{host}:{port}",
                got=str(e),
                next_step="`--port 0` picks a free one.",
            ) from e

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that it listens on."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def serve(self) -> None:
        """Relay connections until `close` is called from another thread, or an exception ends it."""
        self._server.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """Make `serve` return; for another thread."""
        self._server.shutdown()

    def close(self) -> None:
        """Stop listening."""
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True  # an open connection must not keep a command from ending
    block_on_close = False
    request_queue_size = 128


def relay(client: socket.socket, agent: Stream) -> None:
    """Copy bytes both ways until both have ended; closes the agent's stream."""
    upward = threading.Thread(target=_copy, args=(client, agent), daemon=True)
    upward.start()
    _copy(agent, client)
    upward.join()
    agent.close()


def _copy(source: Stream, sink: Stream) -> None:
    try:
        while chunk := source.recv(CHUNK_BYTES):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # one side is gone: end the other, whose copy then ends as well
        for stream in (source, sink):
            _abandon(stream)


def _abandon(stream: Stream) -> None:
    try:
        stream.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it had ended already

"""`AgentClient`: the agent's routes as methods, its answers as the protocol's types."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

from attrs import frozen

from device_agent import codec
from device_agent.errors import (
    AgentUnreachable,
    InvalidRequest,
    ProtocolError,
    from_json,
)
from device_agent.protocol import (
    PROTOCOL_VERSION,
    RECEIPT,
    AgentInfo,
    BenchmarkRequest,
    CompareRequest,
    DeploymentStatus,
    DeployRequest,
    Event,
    HistoryEntry,
    Queried,
    QueryRequest,
    RuntimeDevice,
    SignatureStatus,
)
from device_agent.tensors import Tensor
from device_agent.trust import UNSIGNED, Offer
from edge_sdk.devices import oip
from edge_sdk.devices.connection import AgentConnection, Lease, PipelinedResponse, checked, mapped
from edge_sdk.devices.flight import Chunk, Flight
from edge_sdk.devices.transports.base import Transport

T = TypeVar("T")
LOG_TIMEOUT_S = 86400.0  # between two lines: an idle agent writes none
EVENT_TIMEOUT_S = 300.0  # between two events: loading a large model on a slow board makes none


@frozen
class UploadOffset:
    """An unfinished upload: its path on the agent and how many bytes have arrived."""

    path: str
    offset: int


class AgentClient:
    """Speaks the agent's protocol over a transport that is open.

    One connection is kept for small requests and uploads, a new one is dialled per event stream. Not safe
    for use from several threads; dial another client. Every method raises AgentUnreachable where the
    connection breaks, ProtocolError where the answer makes no sense, and otherwise what the agent answers.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._connection = AgentConnection(transport.dial)

    def close(self) -> None:
        """Close the kept connection; the next request dials again."""
        self._connection.close()

    def agent(self) -> AgentInfo:
        """What the agent says of itself and its machine.

        Raises:
            ProtocolError: it speaks another version of the protocol.
        """
        body = self._json("GET", "/edge/v1/agent")
        version = body.get("protocol") if isinstance(body, dict) else None
        if version != PROTOCOL_VERSION:
            raise ProtocolError(
                "the agent speaks another version of the protocol",
                where=self._transport.address,
                got=str(version),
                expected=str(PROTOCOL_VERSION),
                next_step="Install the same version of edge-deployment-sdk on both sides; an agent of this "
                "machine ends with `edge agent stop`.",
            )
        return self._typed(body, AgentInfo, "/edge/v1/agent")

    def into_lease(self) -> Lease:
        """Keep the agent running over the connection that this client used last; the client dials another."""
        connection, self._connection = self._connection, AgentConnection(self._transport.dial)
        return Lease(connection, self._transport.address)

    def keep(self) -> None:
        """Make an on-demand agent a lasting one."""
        self._request("POST", "/edge/v1/agent/keep")

    def shutdown(self) -> None:
        """End the agent; it answers first."""
        self._request("POST", "/edge/v1/agent/shutdown")
        self.close()

    def has_blob(self, digest: str) -> bool:
        """Whether the agent holds this blob."""
        with mapped(self._transport.address):
            response = self._send("HEAD", f"/edge/v1/blobs/{digest}", None, {})
            response.read()
            if response.status == http.client.NOT_FOUND:
                return False
            if response.status != http.client.OK:
                raise self._headless(response, "HEAD of a blob")
            return True

    def create_upload(self, digest: str, size: int) -> UploadOffset:
        """Begin the upload of a blob of `size` bytes, or find the one that was left unfinished."""
        headers = {"Upload-Length": str(size), "Upload-Digest": digest}
        response, _ = self._request("POST", "/edge/v1/uploads", headers=headers)
        path = response.getheader("Location")
        if path is None:
            raise ProtocolError("the answer to a new upload has no Location", where=self._transport.address)
        return UploadOffset(path, self._offset(response))

    def send_chunks(self, path: str, offset: int, chunks: Iterable[Chunk]) -> Iterator[int]:
        """Append chunks to an upload, sending on while the agent checks and syncs those before.

        Args:
            path: the upload's.
            offset: how far it has come.
            chunks: in order from there; none is empty.

        Yields:
            The offset after each chunk that the agent acknowledged.

        Raises:
            UploadError: the offset or the chunk's checksum is not what the agent has.
            DiskFull: no room on the device.
        """
        flight = Flight.at(offset)
        with mapped(self._transport.address):
            try:
                with closing(self._connection.pipelined()) as answers:
                    for chunk in chunks:
                        self._connection.send(_chunk_head(path, chunk))
                        self._connection.send(chunk.data)
                        flight.sent = chunk.end
                        while flight.exceeds(chunk.allowed):
                            yield from self._chunk_answer(answers, path, flight)
                    while flight.kept < flight.sent:
                        yield from self._chunk_answer(answers, path, flight)
            except BaseException:
                self._connection.close()  # it may hold half an exchange
                raise

    def _chunk_answer(self, answers: BinaryIO, path: str, flight: Flight) -> Iterator[int]:
        """Take one answer; gives the offset that it acknowledges, nothing if it is a receipt."""
        response = PipelinedResponse(answers)
        response.begin()
        checked(response, path)
        response.read()
        kept = response.status != RECEIPT
        flight.answered(self._offset(response), kept=kept)
        if kept:
            yield flight.kept

    def models(self) -> tuple[DeploymentStatus, ...]:
        """Every deployment on the device."""
        return self._typed(
            self._json("GET", "/edge/v1/models"), tuple[DeploymentStatus, ...], "/edge/v1/models"
        )

    def model(self, name: str) -> DeploymentStatus:
        """One deployment; UnknownModel where there is none of that name."""
        path = _model_path(name)
        return self._typed(self._json("GET", path), DeploymentStatus, path)

    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """How the deployments and rollbacks of a model ended, oldest first."""
        path = _model_path(name, "/history")
        return self._typed(self._json("GET", path), tuple[HistoryEntry, ...], path)

    def remove(self, name: str) -> None:
        """Remove a deployment and everything only it needs."""
        self._request("DELETE", _model_path(name))

    def signature(self, name: str) -> SignatureStatus:
        """What was signed under a name, whether anything of it is deployed or not."""
        path = _model_path(name, "/signature")
        return self._typed(self._json("GET", path), SignatureStatus, path)

    def deploy(self, name: str, manifest_digest: str, offer: Offer = UNSIGNED) -> Iterator[Event]:
        """Activate an uploaded bundle; the last event's result is a `Deployed`."""
        request = DeployRequest(manifest_digest, offer.statement, offer.signature)
        return self._events(_model_path(name, "/deploy"), request)

    def rollback(self, name: str) -> Iterator[Event]:
        """Go back to the generation before; the last event's result is a `Deployed`."""
        return self._events(_model_path(name, "/rollback"), None)

    def benchmark(self, name: str, request: BenchmarkRequest) -> Iterator[Event]:
        """Measure a deployment; the last event's result is a `BenchmarkResult`."""
        return self._events(_model_path(name, "/benchmark"), request)

    def compare(self, name: str, request: CompareRequest) -> Iterator[Event]:
        """Measure uploaded bundles in turns; the last event's result is a `Compared`."""
        return self._events(_model_path(name, "/compare"), request)

    def query(self, name: str, request: QueryRequest) -> Queried:
        """Which operators of an uploaded bundle's model each processor of its runtime can run."""
        path = _model_path(name, "/query")
        return self._typed(self._slow("POST", path, codec.dumps(request).encode()), Queried, path)

    def runtime_devices(self, runtime: str) -> tuple[RuntimeDevice, ...]:
        """The processors that a runtime has on the device; RuntimeMissing where it is not installed."""
        path = f"/edge/v1/runtimes/{quote(runtime, safe='')}/devices"
        return self._typed(self._slow("GET", path), tuple[RuntimeDevice, ...], path)

    def logs(self, lines: int, level: str, *, follow: bool) -> Iterator[dict[str, Any]]:
        """The newest lines of the agent's log, oldest first; with `follow`, then those to come."""
        path = f"/edge/v1/logs?lines={lines}&level={level}&follow={int(follow)}"
        connection = AgentConnection(self._transport.dial, timeout_s=LOG_TIMEOUT_S)
        try:
            with mapped(self._transport.address):
                connection.request("GET", path)
                with checked(connection.getresponse(), path) as response:
                    for line in response:
                        yield _log_line(line, path)
        finally:
            connection.close()

    def infer(self, name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a deployed model once on named inputs.

        Raises:
            InvalidRequest: an input is missing or does not fit.
            UnknownModel: no such deployment.
            WorkerFailed: the model's worker crashed or hung.
        """
        body, header_length = oip.encode_request(tensors)
        response, answer = self._request(
            "POST",
            f"/v2/models/{quote(name, safe='')}/infer",
            body=body,
            headers={oip.HEADER_LENGTH: str(header_length), "Content-Type": "application/octet-stream"},
        )
        return oip.decode_response(answer, int(response.getheader(oip.HEADER_LENGTH, str(len(answer)))))

    def _json(self, method: str, path: str) -> Any:
        _, body = self._request(method, path)
        try:
            return json.loads(body)
        except ValueError as e:
            raise ProtocolError("the agent's answer is not JSON", where=path, got=repr(body[:200])) from e

    def _typed(self, data: Any, kind: type[T], where: str) -> T:
        try:
            return codec.from_json(data, kind, where=where)
        except InvalidRequest as e:
            raise ProtocolError("the agent's answer has another form", where=where, got=e.got) from e

    def _request(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        with mapped(self._transport.address):
            response = checked(self._send(method, path, body, headers or {}), path)
            try:
                return response, response.read()
            except (OSError, http.client.HTTPException):
                self._connection.close()  # half an answer is left on it
                raise

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        """Send over the kept connection; once more over a new one if the agent had closed the kept one."""
        while True:
            kept = self._connection.sock is not None
            try:
                self._connection.request(method, path, body=body, headers=dict(headers))
                return self._connection.getresponse()
            except BaseException as e:
                self._connection.close()  # whatever happened, it holds half an exchange
                # RemoteDisconnected, which a connection that was closed idle gives, is a ConnectionResetError
                if not kept or not isinstance(e, (BrokenPipeError, ConnectionResetError)):
                    raise

    def _slow(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The answer to what a worker must be started for, which takes a slow board its time."""
        connection = AgentConnection(self._transport.dial, timeout_s=EVENT_TIMEOUT_S)
        try:
            with mapped(self._transport.address):
                connection.request(method, path, body=body)
                with checked(connection.getresponse(), path) as response:
                    return response.read()
        finally:
            connection.close()

    def _events(self, path: str, request: object | None) -> Iterator[Event]:
        body = b"" if request is None else codec.dumps(request).encode()
        connection = AgentConnection(self._transport.dial, timeout_s=EVENT_TIMEOUT_S)
        try:
            with mapped(self._transport.address):
                connection.request("POST", path, body=body, headers={"Content-Type": "application/json"})
                response = checked(connection.getresponse(), path)
                with response:
                    yield from _parse_events(response, path)
        finally:
            connection.close()

    def _offset(self, response: http.client.HTTPResponse) -> int:
        text = response.getheader("Upload-Offset", "")
        if not text.isdecimal():
            raise ProtocolError(
                "the agent's answer has no Upload-Offset", where=self._transport.address, got=repr(text)
            )
        return int(text)

    def _headless(self, response: http.client.HTTPResponse, what: str) -> ProtocolError:
        return ProtocolError(
            f"{what} was refused", where=self._transport.address, got=f"HTTP {response.status}"
        )


def _log_line(line: bytes, path: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as e:
        raise ProtocolError("a line of the log is not JSON", where=path, got=repr(line[:200])) from e
    if not isinstance(row, dict):
        raise ProtocolError("a line of the log is not an object", where=path, got=repr(line[:200]))
    return row


def _chunk_head(path: str, chunk: Chunk) -> bytes:
    """The head of a chunk's request, in the form that the agent takes off its HTTP stack."""
    checksum = base64.b64encode(hashlib.sha256(chunk.data).digest()).decode()
    return (
        f"PATCH {path} HTTP/1.1\r\nHost: agent\r\nUpload-Offset: {chunk.offset}\r\n"
        f"Upload-Checksum: sha256 {checksum}\r\nUpload-Receipt: ?1\r\n"
        f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(chunk.data)}\r\n\r\n"
    ).encode()


def _model_path(name: str, rest: str = "") -> str:
    return f"/edge/v1/models/{quote(name, safe='')}{rest}"


def _parse_events(lines: Iterable[bytes], path: str) -> Iterator[Event]:
    """The events of a stream up to its result.

    Raises:
        EdgeError: the error that the stream ends with.
        AgentUnreachable: it ends with neither a result nor an error.
        ProtocolError: a line is not an event.
    """
    for line in lines:
        try:
            event = codec.from_json(line, Event, where=path)
        except InvalidRequest as e:
            raise ProtocolError("a line of the agent's answer is not an event", where=path, got=e.got) from e
        if event.kind == "error":
            raise from_json(event.error or {})
        yield event
        if event.kind == "result":
            return
    raise AgentUnreachable(
        "the agent ended in the middle of its answer",
        where=path,
        next_step="The model that was active stays active. `edge agent logs` shows what the agent last "
        "wrote; run the command again.",
    )

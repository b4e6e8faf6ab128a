"""The chunks of an upload, taken off the HTTP stack: bodies go from the socket to one buffer and to the disk.

A PATCH in the very form that `AgentClient.send_chunks` sends is received here; whatever else comes, on the
same connection too, is uvicorn's. While one chunk is checked and written the next is received, and one sync
covers all that arrived during the one before it, so a client should send on without waiting for answers
(pipelining, https://www.rfc-editor.org/rfc/rfc9112#section-9.3.2). Answers come in order, each once a power
cut cannot take its chunk back; the first refusal is the last answer.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections import deque
from collections.abc import Coroutine
from http import HTTPStatus

import h11
from attrs import frozen
from uvicorn.protocols.http.h11_impl import H11Protocol

from device_agent import log
from device_agent.errors import EdgeError, InvalidRequest, UploadError
from device_agent.uploads import MAX_CHUNK_BYTES, Upload, Uploads
from device_agent.web import unexpected

HEAD_BYTES = 1 << 10
BUFFERS = 2  # one is being filled while the other is checked and written
DRAIN_S = 5.0  # what a client that was refused still sends is read, so that it comes to read why
_BEGIN = b"PATCH /edge/v1/uploads/"
_HEAD = re.compile(
    rb"PATCH /edge/v1/uploads/(?P<id>[0-9a-f]{64}-[0-9]{1,13}) HTTP/1\.1\r\n"
    rb"Host: [A-Za-z0-9.:-]{1,100}\r\n"
    rb"Upload-Offset: (?P<offset>[0-9]{1,15})\r\n"
    rb"Upload-Checksum: sha256 (?P<checksum>[A-Za-z0-9+/]{43}=)\r\n"
    rb"Content-Type: application/offset\+octet-stream\r\n"
    rb"Content-Length: (?P<length>[1-9][0-9]{0,7})\r\n\r\n"
)


@frozen
class _Chunk:
    upload_id: str
    offset: int
    checksum: bytes
    length: int
    buffer: bytearray  # of this length or more


def protocol(uploads: Uploads) -> type[H11Protocol]:
    """Uvicorn's HTTP/1.1, but for the chunks of uploads."""

    class AgentProtocol(H11Protocol):
        """A connection to the agent."""

        def data_received(self, data: bytes) -> None:
            """Takes a chunk's request at the beginning of an exchange; uvicorn takes the others."""
            between = self.cycle is None or self.cycle.response_complete
            if between and data.startswith(_BEGIN) and not self.conn.trailing_data[0]:
                Chunks(self, uploads).take_over(data)
            else:
                super().data_received(data)

        def send_400_response(self, msg: str) -> None:
            """Answers what is not HTTP with an error of ours."""
            if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                self.transport.write(_refusal(InvalidRequest("not an HTTP/1.1 request", got=msg)))
            self.transport.close()

    return AgentProtocol


class Chunks(asyncio.BufferedProtocol):
    """A connection while chunks arrive on it.

    Args:
        owner: has the connection otherwise.
        uploads: where they go.
    """

    def __init__(self, owner: H11Protocol, uploads: Uploads) -> None:
        self._owner = owner
        self._transport = owner.transport
        self._uploads = uploads
        self._head = bytearray(HEAD_BYTES)
        self._held = 0  # bytes of the head, or of the chunk if there is one
        self._chunk: _Chunk | None = None  # being filled
        self._filled: deque[_Chunk] = deque()
        self._written: deque[tuple[str, int]] = deque()  # upload and end of what waits for a sync
        self._spare: list[bytearray] = []
        self._receiving = self._syncing = False
        self._refusal: EdgeError | None = None
        self._refused = self._foreign = False

    def take_over(self, data: bytes) -> None:
        """Have the connection from now on; `data` was read from it already."""
        if self._owner.timeout_keep_alive_task is not None:
            self._owner.timeout_keep_alive_task.cancel()
            self._owner.timeout_keep_alive_task = None
        self._transport.set_protocol(self)
        self._feed(data)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where the next bytes go."""
        if self._refused:
            return memoryview(self._head)
        if self._chunk is not None:
            return memoryview(self._chunk.buffer)[self._held : self._chunk.length]
        return memoryview(self._head)[self._held :]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have arrived."""
        if self._refused:
            return
        self._held += nbytes
        if self._chunk is None:
            data, self._held = bytes(self._head[: self._held]), 0
            self._feed(data)
        elif self._held == self._chunk.length:
            self._complete(self._chunk)

    def connection_lost(self, exc: Exception | None) -> None:
        """What was received is still written and synced; nobody waits for the answers."""
        self._refused = True
        self._owner.connection_lost(exc)

    def _feed(self, data: bytes) -> None:
        """Bytes that begin with a head."""
        while data:
            head = _HEAD.match(data)
            if head is None or int(head["length"]) > MAX_CHUNK_BYTES:
                alike = data.startswith(_BEGIN[: len(data)]) and b"\r\n\r\n" not in data
                if head is None and alike and len(data) < HEAD_BYTES:
                    self._head[: len(data)] = data
                    self._held = len(data)
                else:
                    self._hand_back(data)
                return
            length = int(head["length"])
            chunk = _Chunk(
                head["id"].decode(),
                int(head["offset"]),
                base64.b64decode(head["checksum"]),
                length,
                self._buffer(length),
            )
            body, data = data[head.end() : head.end() + length], data[head.end() + length :]
            chunk.buffer[: len(body)] = body
            self._chunk, self._held = chunk, len(body)
            if len(body) == length:
                self._complete(chunk)

    def _buffer(self, length: int) -> bytearray:
        buffer = self._spare.pop() if self._spare else bytearray()
        return buffer if len(buffer) >= length else bytearray(length)

    def _complete(self, chunk: _Chunk) -> None:
        self._chunk, self._held = None, 0
        self._filled.append(chunk)
        if len(self._filled) >= BUFFERS:
            self._transport.pause_reading()
        if not self._receiving:
            self._receiving = True
            self._run(self._receive())

    async def _receive(self) -> None:
        """Check and write what has been filled, one after the other."""
        loop = asyncio.get_running_loop()
        while self._filled and self._refusal is None:
            chunk = self._filled[0]
            data = memoryview(chunk.buffer)[: chunk.length]
            try:
                await loop.run_in_executor(
                    None, self._uploads.receive, chunk.upload_id, chunk.offset, data, chunk.checksum
                )
            except Exception as e:  # noqa: BLE001 - a mistake of ours must still be answered
                self._refusal = _known(e)
                break
            self._written.append((chunk.upload_id, chunk.offset + chunk.length))
            self._filled.popleft()
            self._spare = [chunk.buffer]
            if not self._foreign:
                self._transport.resume_reading()
            if not self._syncing:
                self._syncing = True
                self._run(self._sync())
        self._receiving = False
        self._settle()

    async def _sync(self) -> None:
        """Sync what has been written and acknowledge it, as long as there is some."""
        loop = asyncio.get_running_loop()
        while self._written:
            upload_id = self._written[0][0]
            try:
                upload = await loop.run_in_executor(None, self._uploads.sync, upload_id)
            except Exception as e:  # noqa: BLE001 - as above
                self._refusal = _known(e)
                self._written.clear()
                break
            if upload.offset < self._written[0][1]:  # a sync before this one failed, for another connection
                self._refusal = UploadError("the chunk was lost", where=upload_id, next_step="Send it again.")
                self._written.clear()
            while self._written and self._written[0] <= (upload_id, upload.offset):
                self._answer(_acknowledgement(upload, self._written.popleft()[1]))
        self._syncing = False
        self._settle()

    def _settle(self) -> None:
        """Refuse, or hand the connection back, once everything before has been answered."""
        if self._receiving or self._syncing or self._refused:
            return
        if self._refusal is not None:
            self._answer(_refusal(self._refusal))
            self._refused = True
            self._filled.clear()
            self._transport.resume_reading()
            asyncio.get_running_loop().call_later(DRAIN_S, self._transport.close)
        elif self._foreign and not self._filled:
            self._hand_back(bytes(self._head[: self._held]))

    def _hand_back(self, data: bytes) -> None:
        """Give the connection back with bytes that are not a chunk's request, once all answers are sent."""
        if self._receiving or self._syncing:
            self._foreign = True
            self._transport.pause_reading()
            self._head[: len(data)] = data
            self._held = len(data)
            return
        self._transport.set_protocol(self._owner)
        self._transport.resume_reading()
        H11Protocol.data_received(self._owner, data)

    def _answer(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _run(self, work: Coroutine[object, object, None]) -> None:
        """Run work that uvicorn waits for when it ends."""
        task = asyncio.ensure_future(work)
        self._owner.tasks.add(task)
        task.add_done_callback(self._owner.tasks.discard)


def _known(error: Exception) -> EdgeError:
    if isinstance(error, EdgeError):
        return error
    log.fault("receiving a chunk failed", error)
    return unexpected(error)


def _acknowledgement(upload: Upload, end: int) -> bytes:
    head = (
        "HTTP/1.1 204 No Content\r\nTus-Resumable: 1.0.0\r\nCache-Control: no-store\r\n"
        f"Upload-Offset: {end}\r\nUpload-Length: {upload.length}\r\n\r\n"
    )
    return head.encode()


def _refusal(error: EdgeError) -> bytes:
    body = json.dumps(error.to_json()).encode()
    head = (
        f"HTTP/1.1 {error.http_status} {HTTPStatus(error.http_status).phrase}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body

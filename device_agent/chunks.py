"""The chunks of an upload, taken off the HTTP stack: bodies go from the socket to one buffer and to the disk.

A PATCH in the very form that `AgentClient.send_chunks` sends is received here; whatever else comes, on the
same connection too, is uvicorn's. While one chunk is checked and written the next is received, and one sync
covers all that arrived during the one before it, so a client should send on without waiting for answers
(pipelining, https://www.rfc-editor.org/rfc/rfc9112#section-9.3.2). Answers come in order, each once a power
cut cannot take its chunk back; the first refusal is the last answer.

A client that asks for receipts is told of each chunk before that, as soon as it is written: an interim
answer, which promises no more than that a connection that breaks does not lose the chunk (104 of
https://datatracker.ietf.org/doc/draft-ietf-httpbis-resumable-upload/).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from device_agent import chunk_form, log
from device_agent.chunk_form import HEAD_BYTES, Chunk
from device_agent.errors import EdgeError, InvalidRequest, UploadError
from device_agent.metrics import Metrics
from device_agent.uploads import Upload, Uploads
from device_agent.web import unexpected

BUFFERS = 2  # one is being filled while the other is checked and written
BUFFER_STEP_BYTES = 1 << 18
CALM = 16  # the share of what came through unbroken that waits for more before it is synced
MOST_UNSYNCED_BYTES = 1 << 22
ROUTE = "upload"  # what the chunks are counted as, see `gate`
DRAIN_S = 5.0  # what a client that was refused still sends is read, so that it comes to read why


def protocol(uploads: Uploads, metrics: Metrics) -> type[H11Protocol]:
    """Uvicorn's HTTP/1.1, but for the chunks of uploads."""

    class AgentProtocol(H11Protocol):
        """A connection to the agent."""

        def data_received(self, data: bytes) -> None:
            """Takes a chunk's request at the beginning of an exchange; uvicorn takes the others."""
            between = self.cycle is None or self.cycle.response_complete
            if between and data.startswith(chunk_form.BEGIN) and not self.conn.trailing_data[0]:
                Chunks(self, uploads, metrics).take_over(data)
            else:
                super().data_received(data)

        def send_400_response(self, msg: str) -> None:
            """Answers what is not HTTP with an error of ours."""
            if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                error = InvalidRequest("not an HTTP/1.1 request", got=msg)
                self.transport.write(chunk_form.refusal(error, chunk_form.number()))
            self.transport.close()

    return AgentProtocol


class Chunks(asyncio.BufferedProtocol):
    """A connection while chunks arrive on it.

    Args:
        owner: has the connection otherwise.
        uploads: where they go.
        metrics: each is counted there, as other requests are.
    """

    def __init__(self, owner: H11Protocol, uploads: Uploads, metrics: Metrics) -> None:
        self._owner = owner
        self._transport = owner.transport
        self._uploads = uploads
        self._metrics = metrics
        self._head = bytearray(HEAD_BYTES)
        self._held = 0  # bytes of the head, or of the chunk if there is one
        self._chunk: Chunk | None = None  # being filled
        self._buffer = bytearray()  # with its bytes
        self._filled: deque[tuple[Chunk, bytearray]] = deque()
        self._written: deque[Chunk] = deque()  # what waits for a sync
        self._taken = self._unsynced = 0  # bytes: of all that was written here, and of what waits
        self._spare: list[bytearray] = []
        self._receiving = self._syncing = False
        self._refusal: EdgeError | None = None
        self._refused_chunk: Chunk | None = None
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
            return memoryview(self._buffer)[self._held : self._chunk.length]
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
        self._sync_when_due()
        self._owner.connection_lost(exc)

    def _feed(self, data: bytes) -> None:
        """Bytes that begin with a head."""
        while data:
            parsed = chunk_form.parse(data)
            if parsed is None:
                if chunk_form.may_become(data):
                    self._head[: len(data)] = data
                    self._held = len(data)
                else:
                    self._hand_back(data)
                return
            chunk, begin = parsed
            body, data = data[begin : begin + chunk.length], data[begin + chunk.length :]
            self._buffer = self._buffer_of(chunk.length)
            self._buffer[: len(body)] = body
            self._chunk, self._held = chunk, len(body)
            if len(body) == chunk.length:
                self._complete(chunk)

    def _buffer_of(self, length: int) -> bytearray:
        buffer = self._spare.pop() if self._spare else bytearray()
        if len(buffer) < length:  # in large steps: a sender's chunks grow
            buffer = bytearray(-(-length // BUFFER_STEP_BYTES) * BUFFER_STEP_BYTES)
        return buffer

    def _complete(self, chunk: Chunk) -> None:
        self._chunk, self._held = None, 0
        self._filled.append((chunk, self._buffer))
        if len(self._filled) >= BUFFERS:
            self._transport.pause_reading()
        if not self._receiving:
            self._receiving = True
            self._run(self._receive())

    async def _receive(self) -> None:
        """Check and write what has been filled, one after the other."""
        loop = asyncio.get_running_loop()
        while self._filled and self._refusal is None:
            chunk, buffer = self._filled[0]
            data = memoryview(buffer)[: chunk.length]
            try:
                await loop.run_in_executor(
                    None, self._uploads.receive, chunk.upload_id, chunk.offset, data, chunk.checksum
                )
            except Exception as e:  # noqa: BLE001 - a mistake of ours must still be answered
                self._refuse(e, chunk)
                break
            self._written.append(chunk)
            self._taken += chunk.length
            self._unsynced += chunk.length
            if chunk.receipt:
                self._answer(chunk_form.receipt(chunk))
            self._filled.popleft()
            self._spare = [buffer]
            if not self._foreign:
                self._transport.resume_reading()
            self._sync_when_due()
        self._receiving = False
        self._sync_when_due()
        self._settle()

    def _sync_when_due(self) -> None:
        """Sync a share of what came, or all there is where nothing more is on its way."""
        idle = not self._filled and self._chunk is None and not self._held
        over = self._refused or self._foreign or self._refusal is not None
        enough = self._unsynced >= min(self._taken // CALM, MOST_UNSYNCED_BYTES)
        if self._written and not self._syncing and (enough or idle or over):
            self._syncing = True
            self._run(self._sync())

    async def _sync(self) -> None:
        """Sync what has been written and acknowledge it."""
        upload_id = self._written[0].upload_id
        self._unsynced = 0
        try:
            upload = await asyncio.get_running_loop().run_in_executor(None, self._uploads.sync, upload_id)
        except Exception as e:  # noqa: BLE001 - as above
            self._refuse(e, self._written[0])
            self._written.clear()
        else:
            self._acknowledge(upload)
        self._syncing = False
        self._sync_when_due()
        self._settle()

    def _acknowledge(self, upload: Upload) -> None:
        first = self._written[0]
        if upload.offset < first.end:  # a sync before this one failed, for another connection
            lost = UploadError("the chunk was lost", where=upload.id, next_step="Send it again.")
            self._refuse(lost, first)
            self._written.clear()
        while self._written and self._written[0].upload_id == upload.id:
            if self._written[0].end > upload.offset:  # written since the sync began
                break
            chunk = self._written.popleft()
            self._answer(chunk_form.acknowledgement(upload, chunk))
            self._count(chunk, HTTPStatus.NO_CONTENT)

    def _refuse(self, error: Exception, chunk: Chunk) -> None:
        """Have a chunk, and what comes after it, refused once all before it has been answered."""
        if self._refusal is not None:
            return  # of what comes after a refusal nothing is answered
        token = log.request_id.set(chunk.request_id)
        try:
            self._refusal, self._refused_chunk = _known(error), chunk
        finally:
            log.request_id.reset(token)

    def _count(self, chunk: Chunk, status: int) -> None:
        # int: Python 3.10 writes an HTTPStatus by its name
        self._metrics.answered(ROUTE, int(status), time.monotonic() - chunk.began)

    def _settle(self) -> None:
        """Refuse, or hand the connection back, once everything before has been answered."""
        if self._receiving or self._syncing or self._refused:
            return
        if self._refusal is not None and self._refused_chunk is not None:
            self._answer(chunk_form.refusal(self._refusal, self._refused_chunk.request_id))
            self._count(self._refused_chunk, self._refusal.http_status)
            self._refused = True
            self._filled.clear()
            self._transport.resume_reading()
            asyncio.get_running_loop().call_later(DRAIN_S, self._transport.close)
        elif self._foreign and not self._filled:
            self._hand_back(bytes(self._head[: self._held]))

    def _hand_back(self, data: bytes) -> None:
        """Give the connection back with bytes that are not a chunk's request, once all answers are sent."""
        if self._receiving or self._syncing or self._written:
            self._foreign = True
            self._transport.pause_reading()
            self._head[: len(data)] = data
            self._held = len(data)
            self._sync_when_due()
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

"""The form of a chunk's request that is taken off the HTTP stack, and the answers to it, as bytes."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from http import HTTPStatus

from attrs import frozen

from device_agent.errors import EdgeError
from device_agent.protocol import RECEIPT
from device_agent.uploads import MAX_CHUNK_BYTES, Upload

HEAD_BYTES = 1 << 10
BEGIN = b"PATCH /edge/v1/uploads/"
_HEAD = re.compile(
    rb"PATCH /edge/v1/uploads/(?P<id>[0-9a-f]{64}-[0-9]{1,13}) HTTP/1\.1\r\n"
    rb"Host: [A-Za-z0-9.:-]{1,100}\r\n"
    rb"Upload-Offset: (?P<offset>[0-9]{1,15})\r\n"
    rb"Upload-Checksum: sha256 (?P<checksum>[A-Za-z0-9+/]{43}=)\r\n"
    rb"(?P<receipt>Upload-Receipt: \?1\r\n)?"
    rb"Content-Type: application/offset\+octet-stream\r\n"
    rb"Content-Length: (?P<length>[1-9][0-9]{0,7})\r\n\r\n"
)


@frozen
class Chunk:
    """A request for a chunk, without its bytes."""

    upload_id: str
    offset: int
    checksum: bytes
    length: int
    receipt: bool  # whether the client asks for one
    request_id: str
    began: float  # when its head was read, of the monotonic clock

    @property
    def end(self) -> int:
        """The offset after it."""
        return self.offset + self.length


def parse(data: bytes) -> tuple[Chunk, int] | None:
    """The request that bytes begin with and where its body begins; None where they are not of this form."""
    head = _HEAD.match(data)
    if head is None or int(head["length"]) > MAX_CHUNK_BYTES:
        return None
    chunk = Chunk(
        head["id"].decode(),
        int(head["offset"]),
        base64.b64decode(head["checksum"]),
        int(head["length"]),
        head["receipt"] is not None,
        number(),
        time.monotonic(),
    )
    return chunk, head.end()


def may_become(data: bytes) -> bool:
    """Whether bytes may be the beginning of a head of this form."""
    return data.startswith(BEGIN[: len(data)]) and b"\r\n\r\n" not in data and len(data) < HEAD_BYTES


def number() -> str:
    """A number for a request."""
    return secrets.token_hex(6)


def receipt(chunk: Chunk) -> bytes:
    """A chunk is written: a cut of the connection does not take it any more."""
    return f"HTTP/1.1 {RECEIPT} Upload Resumption Supported\r\nUpload-Offset: {chunk.end}\r\n\r\n".encode()


def acknowledgement(upload: Upload, chunk: Chunk) -> bytes:
    """A chunk is on the medium."""
    head = (
        "HTTP/1.1 204 No Content\r\nTus-Resumable: 1.0.0\r\nCache-Control: no-store\r\n"
        f"Upload-Offset: {chunk.end}\r\nUpload-Length: {upload.length}\r\n"
        f"X-Request-Id: {chunk.request_id}\r\n\r\n"
    )
    return head.encode()


def refusal(error: EdgeError, request_id: str) -> bytes:
    """An error; nothing is answered after it."""
    body = json.dumps({**error.to_json(), "request_id": request_id}).encode()
    head = (
        f"HTTP/1.1 {error.http_status} {HTTPStatus(error.http_status).phrase}\r\n"
        f"X-Request-Id: {request_id}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body

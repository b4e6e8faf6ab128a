"""Frames between the agent and a worker: two lengths, a JSON object, then bytes.

    uint32 JSON bytes, uint32 payload bytes (big-endian) | JSON | payload

The payload is a safetensors blob (see `tensors`) or a result's JSON. Both ends bound what they accept:
a worker that was taken over by its model must not be able to exhaust the agent's memory.
"""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any, BinaryIO

from attrs import field, frozen

from device_agent.errors import ProtocolError

_LENGTHS = struct.Struct("!II")
MAX_JSON_BYTES = 1 << 20
MAX_PAYLOAD_BYTES = 256 << 20


@frozen
class Frame:
    """One message. `head["kind"]` says what it is."""

    head: dict[str, Any]
    payload: bytes = field(default=b"", repr=False)

    @property
    def kind(self) -> str:
        """What the message is; empty if it does not say."""
        kind = self.head.get("kind")
        return kind if isinstance(kind, str) else ""

    def encode(self) -> bytes:
        """The frame as bytes; ProtocolError if it is larger than the other end accepts."""
        head = json.dumps(self.head).encode()
        _check(len(head), len(self.payload))
        return _LENGTHS.pack(len(head), len(self.payload)) + head + self.payload


def _check(json_bytes: int, payload_bytes: int, limit: int = MAX_PAYLOAD_BYTES) -> None:
    if json_bytes > MAX_JSON_BYTES or payload_bytes > limit:
        raise ProtocolError(
            "a message between agent and worker is too large",
            got=f"{json_bytes} + {payload_bytes} bytes",
            expected=f"<= {MAX_JSON_BYTES} + {limit}",
        )


def _decode(head: bytes, payload: bytes) -> Frame:
    try:
        parsed = json.loads(head)
    except (ValueError, RecursionError) as e:
        raise ProtocolError("a message between agent and worker is not JSON", got=repr(head[:80])) from e
    if not isinstance(parsed, dict):
        raise ProtocolError("a message between agent and worker is not an object", got=repr(head[:80]))
    return Frame(parsed, payload)


def read_blocking(stream: BinaryIO) -> Frame | None:
    """The next frame of a buffered stream, None at its end (in mid-frame as well: the writer is gone)."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    json_bytes, payload_bytes = _LENGTHS.unpack(lengths)
    _check(json_bytes, payload_bytes)
    head, payload = stream.read(json_bytes), stream.read(payload_bytes)
    if len(head) + len(payload) < json_bytes + payload_bytes:
        return None
    return _decode(head, payload)


async def read(stream: asyncio.StreamReader, limit: int = MAX_PAYLOAD_BYTES) -> Frame:
    """The next frame, its payload no longer than `limit` bytes.

    Raises:
        EOFError: the stream ended (as asyncio.IncompleteReadError).
        ProtocolError: what came is not a frame.
    """
    json_bytes, payload_bytes = _LENGTHS.unpack(await stream.readexactly(_LENGTHS.size))
    _check(json_bytes, payload_bytes, limit)
    return _decode(await stream.readexactly(json_bytes), await stream.readexactly(payload_bytes))

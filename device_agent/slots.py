"""Two preallocated files, written in turn, of which the newest valid one holds the agent's records.

A slot: `magic, sequence number, length, sha256(sequence number + payload)`, then the payload. It is
overwritten in place, so a full disk cannot stop it; a write that was torn leaves the other slot valid.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

from device_agent import durable
from device_agent.errors import DeviceError, DiskFull

SLOT_BYTES = 256 << 10
_HEADER = struct.Struct("<8sQQ32s")
_MAGIC = b"EDGESLOT"
MAX_PAYLOAD_BYTES = SLOT_BYTES - _HEADER.size


class Slots:
    """The slots `state.0` and `state.1` of a folder; they are made on first use.

    Not safe for use from several threads at once.

    Raises:
        DiskFull: there is no room to make them.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = (folder / "state.0", folder / "state.1")
        self._newest = 1  # so that the first write goes to state.0
        self._sequence = 0
        self.payload: bytes | None = None  # the newest valid one
        for index, path in enumerate(self._paths):
            if not path.exists() or path.stat().st_size < SLOT_BYTES:
                # zeros are written, not only reserved: overwriting them allocates nothing any more
                durable.write_file(path, bytes(SLOT_BYTES))
            found = _read(path)
            if found is not None and found[0] > self._sequence:
                self._sequence, self.payload = found
                self._newest = index

    def write(self, payload: bytes) -> None:
        """Make `payload` the newest, durably.

        A write that fails leaves the newest one as it is, and the next write goes to the same slot.

        Raises:
            DiskFull: the payload is larger than a slot.
            DeviceError: the medium refused it.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise DiskFull(
                "the agent's records are too large",
                where=str(self._paths[0]),
                got=f"{len(payload)} bytes",
                expected=f"<= {MAX_PAYLOAD_BYTES}",
                next_step="Remove a model.",
            )
        index, sequence = 1 - self._newest, self._sequence + 1
        header = _HEADER.pack(_MAGIC, sequence, len(payload), _digest(sequence, payload))
        path = self._paths[index]
        with durable.mapped("cannot write the agent's records", path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                durable.write_at(descriptor, header + payload, 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._newest, self._sequence, self.payload = index, sequence, payload


def _read(path: Path) -> tuple[int, bytes] | None:
    with durable.mapped("cannot read the agent's records", path):
        raw = path.read_bytes()
    try:
        magic, sequence, length, digest = _HEADER.unpack_from(raw)
    except struct.error as e:
        raise DeviceError("a slot of the agent's records was cut off", where=str(path)) from e
    payload = raw[_HEADER.size : _HEADER.size + length]
    if magic != _MAGIC or len(payload) != length or digest != _digest(sequence, payload):
        return None
    return sequence, payload


def _digest(sequence: int, payload: bytes) -> bytes:
    return hashlib.sha256(sequence.to_bytes(8, "little") + payload).digest()

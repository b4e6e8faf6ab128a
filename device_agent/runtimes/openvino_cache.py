"""A file that keeps what OpenVINO compiled: a header, then what `export_model` gave.

    magic, bytes of the blob, first_load_ns, sha256 of the key, sha256 of the blob, sha256 of all that
    (at 4096) the blob

The key is everything that was compiled depends on: OpenVINO's version, the processor, the properties, the
model's files. Whatever does not match is compiled anew; so a file that was cut off, damaged, or filled by
another version costs a load its time and nothing else. Nothing is synced: a blob that is not what its header
says is not used, however the power failed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import frozen

_HEADER = struct.Struct("<8sQQ32s32s32s")
_SIGNED = _HEADER.size - 32
_MAGIC = b"EDGECMP1"
_BLOB_AT = 4096
_READ_BYTES = 1 << 20


@frozen
class Kept:
    """What was compiled before, and how long the load took that did it."""

    blob: bytes
    first_load_ns: int


class Cache:
    """A cache file that is open and ours alone, for one load of one model."""

    def __init__(self, file: int, key: bytes) -> None:
        self._file = file
        self._key = key

    def read(self) -> Kept | None:
        """What it keeps for this very key, None where that is nothing."""
        with suppress(OSError):
            raw = os.pread(self._file, _HEADER.size, 0)
            if len(raw) < _HEADER.size:
                return None
            magic, size, first_load_ns, key, digest, signed = _HEADER.unpack(raw)
            if (magic, key) != (_MAGIC, self._key) or signed != hashlib.sha256(raw[:_SIGNED]).digest():
                return None
            if os.fstat(self._file).st_size != _BLOB_AT + size:
                return None
            blob = _read(self._file, size)
            if hashlib.sha256(blob).digest() == digest:
                return Kept(blob, first_load_ns)
        return None

    def fill(self, blob: bytes, first_load_ns: int) -> bool:
        """Keep a blob instead of what is there: the blob first, so that a header stands before a whole one.

        Returns:
            Whether it is kept; False where there is no room: the file is empty then.
        """
        digest = hashlib.sha256(blob).digest()
        signed = _HEADER.pack(_MAGIC, len(blob), first_load_ns, self._key, digest, bytes(32))[:_SIGNED]
        try:
            os.ftruncate(self._file, 0)
            _write(self._file, blob, _BLOB_AT)
            _write(self._file, signed + hashlib.sha256(signed).digest(), 0)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, 0)
            return False
        return True


@contextmanager
def opened(path: Path | None, key: bytes) -> Iterator[Cache | None]:
    """The cache in a file, None where there is none or another load is busy with it."""
    file = None
    if path is not None:
        with suppress(OSError):
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    if file is None:
        yield None
        return
    try:
        alone = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            alone = False
        yield Cache(file, key) if alone else None
    finally:
        os.close(file)


def key_of(version: str, device: str, properties: Mapping[str, Any], files: Sequence[Path]) -> bytes:
    """What tells one compiled model from another.

    Args:
        version: of OpenVINO, to the build.
        device: that it is compiled for.
        properties: that it is compiled with.
        files: the model's, in the same order always.
    """
    digests = [_digest(file) for file in files]
    text = json.dumps([version, device, properties, digests], sort_keys=True)
    return hashlib.sha256(text.encode()).digest()


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _read(file: int, size: int) -> bytes:
    """`size` bytes of the blob, which the file has; less if it is cut meanwhile."""
    blob = bytearray(size)
    view, at = memoryview(blob), 0
    while at < size and (count := os.preadv(file, [view[at : at + _READ_BYTES]], _BLOB_AT + at)):
        at += count
    return bytes(view[:at])


def _write(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written

"""Push a bundle: only the blobs the device lacks, in checked chunks, resumed where a connection broke."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from converters.progress import Progress
from device_agent.bundle import Bundle
from device_agent.errors import AgentUnreachable, FileMissing, HostKeyRefused, UploadError
from edge_sdk.devices import flight
from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.flight import Chunk

ATTEMPTS = 7  # in a row without a byte arriving: an agent that was killed has six seconds to come back
FIRST_PAUSE_S = 0.1  # before the second attempt; doubles with each


def push(client: AgentClient, bundle: Bundle, progress: Progress, *, chunk_bytes: int | None = None) -> int:
    """Make sure that the device holds the manifest of a bundle and every blob it refers to.

    Args:
        client: of an open transport.
        bundle: its blobs are read from disk as they are sent.
        progress: called as `progress("upload", bytes done, bytes of all blobs)`.
        chunk_bytes: sent and checked at a time; if None, the longer nothing breaks the more.

    Returns:
        How many bytes of blobs were sent; 0 where the device had them all.

    Raises:
        FileMissing: a blob of the bundle is gone from the host's disk.
        DiskFull: no room on the device.
        UploadError: what arrives does not have its digest.
        AgentUnreachable: the connection broke, and several new ones brought nothing across.
    """
    # the manifest goes last: once it is there, all it refers to is there
    paths = {digest: bundle.blob_path(digest) for digest in [b.digest for b in bundle.manifest.blobs()]}
    paths[bundle.manifest_digest] = bundle.blob_path(bundle.manifest_digest)
    sizes = {digest: _size(path) for digest, path in paths.items()}
    total = sum(sizes.values())
    done = sent = 0
    for digest, path in paths.items():
        progress("upload", done, total)
        if not client.has_blob(digest):
            with path.open("rb") as file:
                for offset in _send(client, file, digest, sizes[digest], chunk_bytes):
                    progress("upload", done + offset, total)
            sent += sizes[digest]
        done += sizes[digest]
    progress("upload", total, total)
    return sent


def _send(
    client: AgentClient, file: BinaryIO, digest: str, size: int, chunk_bytes: int | None
) -> Iterator[int]:
    """Send one blob, beginning again where it stopped; gives the offset after each chunk that arrived."""
    furthest = failures = 0
    while True:
        try:
            for offset in _attempt(client, file, digest, size, chunk_bytes):
                if offset > furthest:
                    furthest, failures = offset, 0
                yield offset
            return
        except HostKeyRefused:
            raise
        except (AgentUnreachable, UploadError):
            failures += 1
            if failures == ATTEMPTS:
                raise
            time.sleep(FIRST_PAUSE_S * 2 ** (failures - 1))


def _attempt(
    client: AgentClient, file: BinaryIO, digest: str, size: int, chunk_bytes: int | None
) -> Iterator[int]:
    if client.has_blob(digest):  # asked again: the last chunk may have arrived and its answer not
        return
    upload = client.create_upload(digest, size)  # finds the unfinished one, with its offset
    yield from client.send_chunks(upload.path, upload.offset, _chunks(file, upload.offset, size, chunk_bytes))


def _chunks(file: BinaryIO, begin: int, size: int, chunk_bytes: int | None) -> Iterator[Chunk]:
    """What is left of a blob from `begin` on; chunks grow with what has gone before."""
    file.seek(begin)
    offset = begin
    while offset < size:
        allowed = flight.after(offset - begin)
        data = file.read(chunk_bytes or allowed.chunk_bytes)
        if not data:
            raise FileMissing("a blob of the bundle became shorter while it was sent", where=file.name)
        yield Chunk(offset, data, allowed)
        offset += len(data)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as e:
        raise FileMissing("a blob of the bundle is missing", where=str(path)) from e

"""Resumable uploads: what was acknowledged survives the agent's death and a power cut.

    uploads/<hex>-<length>/data      preallocated
    uploads/<hex>-<length>/offset    one record per chunk: its end (8 bytes), check (8 bytes)

A record is appended after its chunk has been synced, so the last valid record is the offset, and a torn
one at the end is as if it had never been. Semantics of tus 1.0 (https://tus.io/protocols/resumable-upload).
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from device_agent import durable
from device_agent.bundle import check_digest
from device_agent.errors import DiskFull, InvalidRequest, UploadError
from device_agent.store import Store

MAX_CHUNK_BYTES = 8 << 20
MAX_BLOB_BYTES = 1 << 40
MAX_UNFINISHED = 32  # they hold disk space; past it, the one that rested longest goes
_RECORD = struct.Struct("<Q8s")
_ID = re.compile(r"([0-9a-f]{64})-(0|[1-9][0-9]{0,12})")


@frozen
class Upload:
    """An upload and how far it has come. `offset == length` means that the blob is there."""

    id: str
    digest: str
    length: int
    offset: int


class Uploads:
    """The unfinished uploads of a state folder; safe for use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = store.root / "uploads"
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._uses: dict[str, int] = {}  # upload -> the last use of it, counted: the clock may jump
        durable.make_folder(self._folder)

    def create(self, digest: str, length: int) -> Upload:
        """Begin an upload, or find the one that was left unfinished.

        Raises:
            InvalidRequest: a malformed digest or an impossible length.
            DiskFull: no room for the blob; room held by blobs and uploads that nobody asked for lately
                has been given back first.
        """
        if not 0 <= length <= MAX_BLOB_BYTES:
            raise InvalidRequest("a blob's length is out of range", got=str(length))
        upload_id = f"{check_digest(digest).removeprefix('sha256:')}-{length}"
        with self._claimed(upload_id):
            folder = self._folder / upload_id
            if self._store.blob_size(digest) == length:
                durable.remove_tree(folder)  # left where the agent died right after the blob was made
                return Upload(upload_id, digest, length, length)
            if not folder.is_dir():
                self._make_room_for_one()
                try:
                    self._prepare(folder, length)
                except DiskFull:
                    durable.remove_tree(folder)
                    self._reclaim()
                    self._prepare_or_clean(folder, length)
            upload = self._state(upload_id)
            return self._finish(upload) if upload.offset == length else upload

    def find(self, upload_id: str) -> Upload | None:
        """An upload by its id; None where there is none of that id."""
        match = _ID.fullmatch(upload_id)
        if match is None:
            return None
        digest, length = f"sha256:{match[1]}", int(match[2])
        if self._store.blob_size(digest) == length:
            return Upload(upload_id, digest, length, length)
        return self._state(upload_id) if (self._folder / upload_id).is_dir() else None

    def append(self, upload_id: str, offset: int, chunk: bytes | bytearray, sha256: bytes) -> Upload:
        """Add a chunk at the end of what has arrived; the last one makes the blob.

        Args:
            upload_id: from `create`.
            offset: where the sender believes the end to be.
            chunk: at most MAX_CHUNK_BYTES.
            sha256: the digest that the sender computed of it.

        Raises:
            UploadError: no such upload, another offset or digest, or somebody else is sending to it.
        """
        if hashlib.sha256(chunk).digest() != sha256:
            raise UploadError(
                "the chunk does not have its checksum", where=upload_id, next_step="Send it again."
            )
        with self._claimed(upload_id):
            upload = self.find(upload_id)
            if upload is None:
                raise UploadError("no such upload", where=upload_id[:100], next_step="Begin it again.")
            if offset != upload.offset:
                raise UploadError(
                    "the chunk does not begin where the upload ends",
                    where=upload_id,
                    got=str(offset),
                    expected=str(upload.offset),
                )
            end = offset + len(chunk)
            if end > upload.length:
                raise UploadError(
                    "the chunk goes beyond the blob's end",
                    where=upload_id,
                    got=str(end),
                    expected=f"<= {upload.length}",
                )
            if chunk:
                self._write(self._folder / upload_id, offset, chunk)
            upload = Upload(upload_id, upload.digest, upload.length, end)
            return self._finish(upload) if chunk and end == upload.length else upload

    def discard_all(self) -> None:
        """Remove every unfinished upload that nobody is sending to right now."""
        for path in self._unfinished():
            if path.name not in self._busy:
                durable.remove_tree(path)

    @contextmanager
    def _claimed(self, upload_id: str) -> Iterator[None]:
        with self._lock:
            if upload_id in self._busy:
                raise UploadError("somebody else is sending this blob now", where=upload_id)
            self._busy.add(upload_id)
            self._uses[upload_id] = max(self._uses.values(), default=0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(upload_id)

    def _prepare(self, folder: Path, length: int) -> None:
        durable.make_folder(folder)
        with durable.mapped("cannot begin an upload", folder):
            descriptor = os.open(folder / "data", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                durable.preallocate(descriptor, length)
            finally:
                os.close(descriptor)

    def _prepare_or_clean(self, folder: Path, length: int) -> None:
        try:
            self._prepare(folder, length)
        except DiskFull:
            durable.remove_tree(folder)  # it would hold what room there is
            raise

    def _write(self, folder: Path, offset: int, chunk: bytes | bytearray) -> None:
        with durable.mapped("cannot write an upload", folder):
            descriptor = os.open(folder / "data", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                durable.write_at(descriptor, chunk, offset)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._append_record(folder / "offset", offset + len(chunk))

    def _append_record(self, path: Path, end: int) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # at the end of the valid ones, so that a torn record is overwritten
            position = len(_records(path)) * _RECORD.size
            durable.write_at(descriptor, _RECORD.pack(end, _check(end)), position)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if position == 0:
            durable.sync_folder(path.parent)

    def _state(self, upload_id: str) -> Upload:
        digest, _, length = upload_id.partition("-")
        records = _records(self._folder / upload_id / "offset")
        return Upload(upload_id, f"sha256:{digest}", int(length), records[-1] if records else 0)

    def _finish(self, upload: Upload) -> Upload:
        """Make the blob of an upload that is complete."""
        folder = self._folder / upload.id
        data = folder / "data"
        with durable.mapped("cannot finish an upload", data):
            if data.stat().st_size != upload.length:  # on a file system that cannot preallocate
                os.truncate(data, upload.length)
        if "sha256:" + durable.hash_file(data) != upload.digest:
            durable.remove_tree(folder)
            raise UploadError(
                "the blob that arrived does not have its digest",
                where=upload.digest,
                next_step="Send it again.",
            )
        self._store.adopt_blob(data, upload.digest)
        durable.remove_tree(folder)
        return upload

    def _unfinished(self) -> list[Path]:
        """The folders of unfinished uploads, the one that rested longest first.

        Those that were not used since the agent started come before all others, the oldest folder first.
        """
        with durable.mapped("cannot read a folder", self._folder):
            ages = {path: path.stat().st_mtime_ns for path in self._folder.iterdir()}
        with self._lock:
            here = {path.name for path in ages}
            self._uses = {name: use for name, use in self._uses.items() if name in here | self._busy}
            return sorted(ages, key=lambda path: (self._uses.get(path.name, 0), ages[path]))

    def _make_room_for_one(self) -> None:
        resting = [path for path in self._unfinished() if path.name not in self._busy]
        for path in resting[: max(0, len(resting) + 1 - MAX_UNFINISHED)]:
            durable.remove_tree(path)

    def _reclaim(self) -> None:
        self.discard_all()
        self._store.collect_blobs(self._store.referenced())


def _records(path: Path) -> list[int]:
    """The ends that an offset file records, up to its first invalid record."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    ends = []
    for end, check in _RECORD.iter_unpack(raw[: len(raw) - len(raw) % _RECORD.size]):
        if check != _check(end):
            break
        ends.append(end)
    return ends


def _check(end: int) -> bytes:
    return hashlib.sha256(b"offset" + end.to_bytes(8, "little")).digest()[:8]

"""Resumable uploads: what was acknowledged survives the agent's death and a power cut.

    uploads/<hex>-<length>/data      preallocated
    uploads/<hex>-<length>/offset    one record per sync: its end (8 bytes), check (8 bytes)

Receiving and syncing are two steps, so that one sync covers all that arrived during the one before. A record
is appended after its bytes have been synced, so the last valid record is the offset, and a torn one at the
end is as if it had never been. What arrives is hashed on the way; only what arrived under an agent that died
is read back. Semantics of tus 1.0 (https://tus.io/protocols/resumable-upload).
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field, frozen

from device_agent import durable
from device_agent.bundle import check_digest
from device_agent.errors import DiskFull, InvalidRequest, Overloaded, UploadError
from device_agent.store import Store

MAX_CHUNK_BYTES = 8 << 20
MAX_BLOB_BYTES = 1 << 40
MAX_UNFINISHED = 32  # they hold disk space; past it, those that rest go, the one that rested longest first
RESTING_S = 900.0  # without use, in which a sender that means to go on has come back
_RECORD = struct.Struct("<Q8s")
Chunk = bytes | bytearray | memoryview
_OURS = os.O_CLOEXEC | os.O_NOFOLLOW  # a link that somebody laid here leads to no other file
_ID = re.compile(r"([0-9a-f]{64})-(0|[1-9][0-9]{0,12})")


@define
class _Received:
    """How far an upload has come under this agent: written up to `offset`, on the medium up to `synced`."""

    offset: int
    synced: int
    so_far: hashlib._Hash  # of the bytes up to `offset`
    syncing: threading.Lock = field(factory=threading.Lock)


@frozen
class Upload:
    """An upload and how far it has come. `offset == length` means that the blob is there."""

    id: str
    digest: str
    length: int
    offset: int


class Uploads:
    """The unfinished uploads of a state folder; safe for use from several threads."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._began = clock()
        self._folder = store.root / "uploads"
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._received: dict[str, _Received] = {}
        self.taken_bytes = 0  # of all chunks that were written
        self._uses: dict[str, float] = {}  # upload -> when it was last used, by a clock that never jumps
        durable.make_folder(self._folder)

    def create(self, digest: str, length: int) -> Upload:
        """Begin an upload, or find the one that was left unfinished.

        Raises:
            InvalidRequest: a malformed digest or an impossible length.
            Overloaded: too many are unfinished, and each was used lately.
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
            return self.sync(upload_id)  # what came over a connection that broke is not sent again

    def find(self, upload_id: str) -> Upload | None:
        """An upload by its id, all that was received of it synced; None where there is none of that id."""
        return None if self._known(upload_id) is None else self.sync(upload_id)

    def append(self, upload_id: str, offset: int, chunk: Chunk, sha256: bytes) -> Upload:
        """Add a chunk at the end of what has arrived, durably: `receive` and `sync`."""
        self.receive(upload_id, offset, chunk, sha256)
        return self.sync(upload_id)

    def receive(self, upload_id: str, offset: int, chunk: Chunk, sha256: bytes) -> None:
        """Write a chunk at the end of what has arrived; it may be acknowledged after the next `sync`.

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
            upload = self._known(upload_id)
            if upload is None:
                raise _no_such(upload_id)
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
                received = self._resume(upload)
                with self._forgotten_on_error(upload_id):
                    self._write(self._folder / upload_id, offset, chunk)
                received.so_far.update(chunk)
                received.offset = end
                with self._lock:
                    self.taken_bytes += len(chunk)

    def sync(self, upload_id: str) -> Upload:
        """Bring all that was received to the medium; the last byte of the blob makes it one.

        Returns:
            The upload with an offset that a power cut cannot take back.

        Raises:
            UploadError: no such upload, or the whole does not have its digest.
            DiskFull, DeviceError: the medium refused; what was not synced before has to be sent again.
        """
        upload = self._known(upload_id)
        if upload is None:
            raise _no_such(upload_id)
        if self._store.blob_size(upload.digest) == upload.length:
            return upload
        received = self._resume(upload)
        with received.syncing:
            if self._received.get(upload_id) is not received:  # another one has finished or failed meanwhile
                return self.sync(upload_id)
            end = received.offset
            with self._forgotten_on_error(upload_id):
                if end > received.synced:
                    self._sync(self._folder / upload_id, end, whole=end == upload.length)
                    received.synced = end
                upload = Upload(upload_id, upload.digest, upload.length, end)
                if end == upload.length:
                    self._finish(upload, received)
            return upload

    def discard_all(self) -> None:
        """Remove every unfinished upload that nobody is sending to right now."""
        for path in self._unfinished():
            if path.name not in self._busy:
                self._discard(path)

    @contextmanager
    def _claimed(self, upload_id: str) -> Iterator[None]:
        with self._lock:
            if upload_id in self._busy:
                raise UploadError("somebody else is sending this blob now", where=upload_id)
            self._busy.add(upload_id)
            self._uses[upload_id] = self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(upload_id)

    def _prepare(self, folder: Path, length: int) -> None:
        durable.make_folder(folder)
        with durable.mapped("cannot begin an upload", folder):
            descriptor = os.open(folder / "data", os.O_WRONLY | os.O_CREAT | _OURS, 0o600)
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

    def _write(self, folder: Path, offset: int, chunk: Chunk) -> None:
        with durable.mapped("cannot write an upload", folder):
            descriptor = os.open(folder / "data", os.O_WRONLY | os.O_CREAT | _OURS, 0o600)
            try:
                durable.write_at(descriptor, chunk, offset)
            finally:
                os.close(descriptor)

    def _sync(self, folder: Path, end: int, *, whole: bool) -> None:
        with durable.mapped("cannot sync an upload", folder):
            descriptor = os.open(folder / "data", os.O_WRONLY | _OURS)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if not whole:  # a whole one becomes a blob now, which says the same
                self._append_record(folder / "offset", end)

    def _append_record(self, path: Path, end: int) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _OURS, 0o600)
        try:
            # at the end of the valid ones, so that a torn record is overwritten
            position = len(_records(path)) * _RECORD.size
            durable.write_at(descriptor, _RECORD.pack(end, _check(end)), position)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if position == 0:
            durable.sync_folder(path.parent)

    def _known(self, upload_id: str) -> Upload | None:
        """An upload with all that was received of it, synced or not."""
        match = _ID.fullmatch(upload_id)
        if match is None:
            return None
        digest, length = f"sha256:{match[1]}", int(match[2])
        if self._store.blob_size(digest) == length:
            return Upload(upload_id, digest, length, length)
        if not (self._folder / upload_id).is_dir():
            self._received.pop(upload_id, None)
            return None
        received = self._received.get(upload_id)
        if received is not None:
            return Upload(upload_id, digest, length, received.offset)
        # after a power cut the records may be there without the data, as long as neither was acknowledged
        held = (self._folder / upload_id / "data").exists()
        records = _records(self._folder / upload_id / "offset") if held else []
        return Upload(upload_id, digest, length, records[-1] if records else 0)

    def _resume(self, upload: Upload) -> _Received:
        """What was received of an upload; read back where that was under an agent before this one."""
        received = self._received.get(upload.id)
        if received is None:
            data = self._folder / upload.id / "data"
            so_far = durable.hashed(data, upload.offset) if upload.offset else hashlib.sha256()
            with self._lock:
                fresh = _Received(upload.offset, upload.offset, so_far)
                received = self._received.setdefault(upload.id, fresh)
        return received

    @contextmanager
    def _forgotten_on_error(self, upload_id: str) -> Iterator[None]:
        """After a failed write or sync only the records are believed: the kernel may have dropped pages."""
        try:
            yield
        except BaseException:
            self._received.pop(upload_id, None)
            raise

    def _finish(self, upload: Upload, received: _Received) -> None:
        """Make the blob of an upload that is complete."""
        folder = self._folder / upload.id
        data = folder / "data"
        with durable.mapped("cannot finish an upload", data):
            if data.stat().st_size != upload.length:  # on a file system that cannot preallocate
                os.truncate(data, upload.length)
        if "sha256:" + received.so_far.hexdigest() != upload.digest:
            self._discard(folder)
            raise UploadError(
                "the blob that arrived does not have its digest",
                where=upload.digest,
                next_step="Send it again.",
            )
        self._store.adopt_blob(data, upload.digest)
        self._discard(folder)

    def _discard(self, folder: Path) -> None:
        self._received.pop(folder.name, None)
        durable.remove_tree(folder)

    def _unfinished(self) -> list[Path]:
        """The folders of unfinished uploads, the one that rested longest first.

        Those that were not used since the agent started come before all others, the oldest folder first.
        """
        with durable.mapped("cannot read a folder", self._folder):
            ages = {path: path.stat().st_mtime_ns for path in self._folder.iterdir()}
        with self._lock:
            here = {path.name for path in ages}
            self._uses = {name: use for name, use in self._uses.items() if name in here | self._busy}
            return sorted(ages, key=lambda path: (self._used(path.name), ages[path]))

    def _used(self, name: str) -> float:
        """When an upload was last used; one from before this agent as if when that began."""
        return self._uses.get(name, self._began)

    def _make_room_for_one(self) -> None:
        unfinished = self._unfinished()
        since = self._clock() - RESTING_S
        for path in unfinished[: max(0, len(unfinished) + 1 - MAX_UNFINISHED)]:
            if path.name in self._busy or self._used(path.name) > since:
                raise Overloaded(
                    "too many uploads are unfinished",
                    got=str(len(unfinished)),
                    expected=f"< {MAX_UNFINISHED}",
                    next_step="Finish one, or try again later: what nobody goes on with makes room after "
                    f"{RESTING_S / 60:g} minutes.",
                )
            self._discard(path)

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


def _no_such(upload_id: str) -> UploadError:
    return UploadError("no such upload", where=upload_id[:100], next_step="Begin it again.")


def _check(end: int) -> bytes:
    return hashlib.sha256(b"offset" + end.to_bytes(8, "little")).digest()[:8]

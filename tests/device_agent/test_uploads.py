"""Resumable uploads on a real store."""

import hashlib
import shutil
from pathlib import Path

import pytest

from device_agent.errors import DiskFull, InvalidRequest, UploadError
from device_agent.store import Store
from device_agent.uploads import MAX_UNFINISHED, Uploads
from tests.device_agent.faults import Crash, crash_at, fail_at, faulty, nothing, tear_at

DATA = bytes(range(256)) * 40
CHUNK = 3000
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


def opened(state: Path) -> Uploads:
    return Uploads(Store(state))


def send(
    uploads: Uploads, data: bytes = DATA, digest: str = DIGEST, *, acknowledged: list[int] | None = None
) -> int:
    """Send what is missing; the bytes that were sent. `acknowledged` takes the offset after each chunk."""
    upload = uploads.create(digest, len(data))
    begun = upload.offset
    while upload.offset < len(data):
        chunk = data[upload.offset : upload.offset + CHUNK]
        upload = uploads.append(upload.id, upload.offset, chunk, hashlib.sha256(chunk).digest())
        if acknowledged is not None:
            acknowledged.append(upload.offset)
    return len(data) - begun


def test_blob_is_kept_read_only(state: Path) -> None:
    """A finished upload is a blob, and nothing else is left of it."""
    uploads = opened(state)
    send(uploads)
    blob = Store(state).blob_path(DIGEST)
    assert DATA == blob.read_bytes()
    assert 0o444 == blob.stat().st_mode & 0o777
    assert [] == list((state / "uploads").iterdir())
    assert len(DATA) == uploads.create(DIGEST, len(DATA)).offset


def test_empty_blob(state: Path) -> None:
    """A blob of no bytes is there once it has been announced."""
    digest = "sha256:" + hashlib.sha256(b"").hexdigest()
    assert 0 == send(opened(state), b"", digest)
    assert 0 == Store(state).blob_size(digest)


def test_upload_goes_on_where_it_was_acknowledged(state: Path) -> None:
    """A new agent knows how far the upload came."""
    uploads = opened(state)
    upload = uploads.create(DIGEST, len(DATA))
    uploads.append(upload.id, 0, DATA[:CHUNK], hashlib.sha256(DATA[:CHUNK]).digest())
    again = opened(state)
    found = again.find(upload.id)
    assert found is not None
    assert CHUNK == found.offset
    assert len(DATA) - CHUNK == send(again)


@pytest.mark.parametrize("fault", [crash_at, tear_at])
def test_death_at_any_call_costs_one_chunk_at_most(state: Path, fault: type) -> None:
    """Whenever the agent dies, at most the chunk that was not acknowledged is sent again."""
    with faulty(nothing) as counter:
        send(opened(state))
    for k in range(1, counter.count + 1):
        shutil.rmtree(state)
        acknowledged = [0]
        with faulty(fault(k)), pytest.raises(Crash):
            send(opened(state), acknowledged=acknowledged)
        assert len(DATA) - acknowledged[-1] >= send(opened(state))
        assert DATA == Store(state).blob_path(DIGEST).read_bytes()


def test_full_disk_at_any_call_is_said_and_passes(state: Path) -> None:
    """DiskFull, or room was made; the upload goes on once there is space."""
    with faulty(nothing) as counter:
        send(opened(state))
    for k in range(1, counter.count + 1):
        shutil.rmtree(state)
        try:
            with faulty(fail_at(k)):
                send(opened(state))
        except DiskFull:
            send(opened(state))
        assert DATA == Store(state).blob_path(DIGEST).read_bytes()


def test_wrong_chunks_are_refused(state: Path) -> None:
    """A chunk with another checksum, offset or too many bytes changes nothing."""
    uploads = opened(state)
    upload = uploads.create(DIGEST, len(DATA))
    good = hashlib.sha256(DATA[:CHUNK]).digest()
    for offset, chunk, checksum, why in [
        (0, DATA[:CHUNK], bytes(32), "checksum"),
        (CHUNK, DATA[:CHUNK], good, "does not begin where the upload ends"),
        (0, DATA + b"x", hashlib.sha256(DATA + b"x").digest(), "beyond the blob's end"),
    ]:
        with pytest.raises(UploadError, match=why):
            uploads.append(upload.id, offset, chunk, checksum)
    with pytest.raises(UploadError, match="no such upload"):
        uploads.append("../../etc", 0, DATA[:CHUNK], good)
    found = uploads.find(upload.id)
    assert found is not None
    assert 0 == found.offset


def test_wrong_digest_is_found_at_the_end(state: Path) -> None:
    """A blob that does not have the announced digest is thrown away and can be sent again."""
    uploads = opened(state)
    with pytest.raises(UploadError, match="does not have its digest"):
        send(uploads, DATA[:-1] + b"?")
    send(uploads)
    assert DATA == Store(state).blob_path(DIGEST).read_bytes()


def test_announcements_are_checked(state: Path) -> None:
    """A malformed digest or an impossible length is refused before anything is written."""
    uploads = opened(state)
    for digest, length in [("md5:00", 1), ("sha256:../../x", 1), (DIGEST, -1), (DIGEST, 1 << 62)]:
        with pytest.raises(InvalidRequest):
            uploads.create(digest, length)
    assert [] == list((state / "uploads").iterdir())


def test_unfinished_uploads_are_bounded(state: Path) -> None:
    """Past the bound, the upload that rested longest gives way."""
    uploads = opened(state)
    for index in range(MAX_UNFINISHED + 3):
        uploads.create("sha256:" + f"{index:064x}", 10)
    assert MAX_UNFINISHED == len(list((state / "uploads").iterdir()))


def test_records_whose_data_a_power_cut_took(tmp_path: Path) -> None:
    """Where the records are there and the data is not, which nobody was promised, the upload begins anew."""
    store = Store(tmp_path / "state")
    data = b"x" * 100
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    uploads = Uploads(store)
    upload = uploads.create(digest, len(data))
    uploads.append(upload.id, 0, data[:40], hashlib.sha256(data[:40]).digest())
    (tmp_path / "state" / "uploads" / upload.id / "data").unlink()
    again = Uploads(store).create(digest, len(data))
    assert 0 == again.offset
    assert 100 == uploads.append(upload.id, 0, data, hashlib.sha256(data).digest()).offset
    assert len(data) == store.blob_size(digest)

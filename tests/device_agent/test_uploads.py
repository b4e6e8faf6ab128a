"""Resumable uploads on a real store."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from device_agent.errors import DiskFull, InvalidRequest, Overloaded, UploadError
from device_agent.store import Store
from device_agent.uploads import MAX_UNFINISHED, RESTING_S, Uploads
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


class Clock:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def begun(uploads: Uploads, count: int) -> list[str]:
    return [uploads.create("sha256:" + f"{index:064x}", 10).id for index in range(count)]


def unfinished(state: Path) -> set[str]:
    return {path.name for path in (state / "uploads").iterdir()}


def test_too_many_uploads_in_use(state: Path) -> None:
    """Past the bound, one more is refused by name, and none of those in use is lost."""
    uploads = opened(state)
    ids = begun(uploads, MAX_UNFINISHED)
    for _ in range(2):
        with pytest.raises(Overloaded, match="too many uploads are unfinished: got 32"):
            begun(uploads, MAX_UNFINISHED + 1)
    assert set(ids) == unfinished(state)


def test_uploads_that_rest_give_way(state: Path) -> None:
    """Past the bound, the upload that rested longest makes room; one in use does not."""
    clock = Clock()
    uploads = Uploads(Store(state), clock)
    ids = begun(uploads, MAX_UNFINISHED)
    clock.now += RESTING_S
    assert ids[0] == begun(uploads, 1)[0]  # somebody goes on with the first one
    last = uploads.create(DIGEST, 10).id
    assert {*ids, last} - {ids[1]} == unfinished(state)


def test_uploads_of_an_agent_that_died_are_kept_for_a_while(state: Path) -> None:
    """Whoever was sending when the agent died is given the time to come back to the next one."""
    begun(opened(state), MAX_UNFINISHED)
    clock = Clock()
    uploads = Uploads(Store(state), clock)
    with pytest.raises(Overloaded):
        uploads.create(DIGEST, 10)
    clock.now += RESTING_S
    uploads.create(DIGEST, 10)
    assert MAX_UNFINISHED == len(unfinished(state))


def received(uploads: Uploads, count: int) -> str:
    """Chunks that were written and not synced; the upload's id."""
    upload = uploads.create(DIGEST, len(DATA))
    for offset in range(0, count * CHUNK, CHUNK):
        chunk = DATA[offset : offset + CHUNK]
        uploads.receive(upload.id, offset, chunk, hashlib.sha256(chunk).digest())
    return upload.id


def test_one_sync_covers_all_that_arrived(state: Path) -> None:
    """Several chunks take one sync of the data and one of the record, and a second sync takes none."""
    uploads = opened(state)
    upload_id = received(uploads, 3)
    with faulty(nothing) as counter:
        uploads.sync(upload_id)
    assert ["fsync", "open", "pwrite", "fsync", "fsync"] == counter.calls  # data, record, its name
    again = opened(state).find(upload_id)
    assert again is not None
    assert 3 * CHUNK == again.offset
    with faulty(nothing) as counter:
        uploads.sync(upload_id)
    assert [] == counter.calls


def test_a_failed_sync_is_not_believed(state: Path) -> None:
    """What a failed sync did not bring to the medium is sent again, though the kernel may still show it."""
    uploads = opened(state)
    upload_id = received(uploads, 2)
    with faulty(fail_at(1)), pytest.raises(DiskFull):
        uploads.sync(upload_id)
    found = uploads.find(upload_id)
    assert found is not None
    assert 0 == found.offset
    send(uploads)
    assert DATA == Store(state).blob_path(DIGEST).read_bytes()


def test_what_an_agent_before_received_is_read_back(state: Path) -> None:
    """Bytes that were damaged on the disk between two agents are found when the blob is complete."""
    uploads = opened(state)
    upload_id = received(uploads, 2)
    uploads.sync(upload_id)
    with (state / "uploads" / upload_id / "data").open("r+b") as file:
        file.write(b"?")
    with pytest.raises(UploadError, match="does not have its digest"):
        send(opened(state))


@pytest.mark.parametrize("jumped_to_s", [0, 4_000_000_000])
def test_an_upload_in_use_is_kept_whatever_the_clock_says(state: Path, jumped_to_s: int) -> None:
    """What gives way is what was used least lately, not what a clock that jumps makes look old."""
    clock = Clock()
    uploads = Uploads(Store(state), clock)
    ids = begun(uploads, MAX_UNFINISHED)
    clock.now += RESTING_S
    begun(uploads, 1)  # somebody goes on with the first one
    for place in (0, 2):
        os.utime(state / "uploads" / ids[place], (jumped_to_s, jumped_to_s))
    clock.now += RESTING_S / 2
    last = uploads.create(DIGEST, 10).id
    assert ids[0] in unfinished(state)
    assert {last} == unfinished(state) - set(ids)


def test_records_whose_data_a_power_cut_took(tmp_path: Path) -> None:
    """Where the records are there and the data is not, which nobody was promised, the upload begins anew."""
    store = Store(tmp_path / "state")
    data = b"x" * 100
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    uploads = Uploads(store)
    upload = uploads.create(digest, len(data))
    uploads.receive(upload.id, 0, data[:40], hashlib.sha256(data[:40]).digest())
    uploads.sync(upload.id)
    (tmp_path / "state" / "uploads" / upload.id / "data").unlink()
    uploads = Uploads(store)
    assert 0 == uploads.create(digest, len(data)).offset
    uploads.receive(upload.id, 0, data, hashlib.sha256(data).digest())
    assert 100 == uploads.sync(upload.id).offset
    assert len(data) == store.blob_size(digest)

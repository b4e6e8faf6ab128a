"""The power goes at every moment of a recorded session, and the agent starts on everything the disk may hold.

Removing any fsync from the recording must make a bad state appear: that shows both that the fsync is
needed and that the states are hard enough to show it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from attrs import define, frozen

from device_agent import identity
from device_agent.errors import EdgeError
from tests.device_agent.campaigns.disk import Disk, State
from tests.device_agent.campaigns.recording import Recording, recorded
from tests.device_agent.campaigns.report import Row
from tests.device_agent.campaigns.scenarios import CHUNK_BYTES, NAME, Stock
from tests.device_agent.test_activator import Device

STATE = "home/state"


@frozen
class Promise:
    """What a client has been told: `active` answers, or one of these after what is under way."""

    active: tuple[int | None, ...]


@frozen
class Received:
    """What a client has been told of an upload."""

    id: str
    offset: int


@frozen
class Known:
    """Which device a client has been told this is: what is signed for it must stay valid."""

    id: str


class Wrong(Exception):
    """A state after which a promise is broken."""


# the agent's models


def session(folder: Path, stock: Stock) -> Recording:
    """From the first start to the removal: uploads, deployments, a rollback, a failed deployment."""
    with recorded(folder) as recording:
        device = Device(folder / STATE)
        recording.mark(Known(identity.establish(folder / STATE).id))
        recording.mark(Promise((None,)))
        active: int | None = None
        for number in (0, 1, 2):
            _upload(device, stock, number, recording)
            recording.mark(Promise((active, number)))
            _activate(device, stock, number)
            active = number
            recording.mark(Promise((active,)))
        recording.mark(Promise((2, 1)))
        device.rollback()
        recording.mark(Promise((1,)))
        _upload(device, stock, 9, recording)
        with suppress(EdgeError):
            _activate(device, stock, 9)
        recording.mark(Promise((1, None)))
        device.remove()
        recording.mark(Promise((None,)))
    return recording


def _upload(device: Device, stock: Stock, number: int, recording: Recording) -> None:
    bundle = stock[number]
    for digest in (*(blob.digest for blob in bundle.manifest.blobs()), bundle.manifest_digest):
        data = bundle.blob_path(digest).read_bytes()
        upload = device.uploads.create(digest, len(data))
        while upload.offset < upload.length:
            chunk = data[upload.offset : upload.offset + CHUNK_BYTES]
            upload = device.uploads.append(upload.id, upload.offset, chunk, hashlib.sha256(chunk).digest())
            recording.mark(Received(upload.id, upload.offset))


def _activate(device: Device, stock: Stock, number: int) -> int:
    deployed = asyncio.run(device.activator.deploy(NAME, stock[number].manifest_digest, lambda _: None))
    return deployed.status.generation


def check(folder: Path, stock: Stock, promised: list[object]) -> None:
    """Start on a state, and find everything that was promised; Wrong if not.

    Raises:
        Wrong: says what.
    """
    (folder / "home").mkdir(exist_ok=True)
    device = Device(folder / STATE)
    allowed = next((p.active for p in reversed(promised) if isinstance(p, Promise)), (None,))
    known = next((p.id for p in promised if isinstance(p, Known)), None)
    if known not in (None, identity.establish(folder / STATE).id):
        raise Wrong("it is another device now")
    _check_active(device, stock, allowed)
    last = promised[-1] if promised else None
    if isinstance(last, Received):
        _check_upload(device, last)
    _check_future(device, stock)


def _check_active(device: Device, stock: Stock, allowed: tuple[int | None, ...]) -> None:
    statuses = device.activator.statuses()
    found = stock.number(statuses[0].manifest_digest) if statuses else None
    if found not in allowed:
        raise Wrong(f"bundle {found} is active, promised was {allowed}")
    if found is None:
        return
    status = statuses[0]
    for number in (status.generation, status.previous_generation):
        if number is not None:
            digest = device.store.generation(NAME, number).manifest_digest
            device.store.verify(NAME, number, digest)
    if device.answering()[0] != device.store.current(NAME):
        raise Wrong("the link names another generation than the one that answers")


def _check_upload(device: Device, received: Received) -> None:
    upload = device.uploads.find(received.id)
    if upload is None or upload.offset < received.offset:
        raise Wrong(f"an upload has come to {upload and upload.offset}, promised was {received.offset}")


def _check_future(device: Device, stock: Stock) -> None:
    """Whatever was interrupted can be done again, and works at once; so does a rollback."""
    known = {entry.generation for entry in _history(device)}
    nothing = Recording(device.store.root)
    for number in (2, 9, 7):
        _upload(device, stock, number, nothing)
        with suppress(EdgeError if number == 9 else ()):
            if _activate(device, stock, number) in known and number == 7:
                raise Wrong("a generation's number was given twice")
    if device.answering()[1] != stock[7].manifest_digest:
        raise Wrong("the next deployment is not active")
    device.rollback()
    if device.answering()[1] != stock[2].manifest_digest:
        raise Wrong("the next rollback is not active")


def _history(device: Device) -> tuple:  # type: ignore[type-arg]
    try:
        return device.activator.history(NAME)
    except EdgeError:
        return ()


def states(
    recording: Recording, limit: int, seed: int, begin: int = 0
) -> Iterator[tuple[int, State, list[object]]]:
    """Every different state after `begin` operations or more: after how many, what the disk holds, and what
    had been promised. Of each moment about `limit` at most.
    """
    disk, draw = Disk(), random.Random(seed)
    seen: set[tuple[int, int]] = set()
    for count in range(len(recording.ops) + 1):
        if count:
            disk.do(recording.ops[count - 1])
        if count < begin:
            continue
        promised = recording.promised(count)
        for state in disk.states(limit, draw):
            key = (state.key(), len(promised))
            if key not in seen:
                seen.add(key)
                yield count, state, promised


Check = Callable[[Path, Stock, list[object]], None]
# sites of an fsync that no state needs, and why they are kept
NOT_NEEDED: dict[str, str] = {
    "durable.write_file < slots.__init__": "slots.write syncs what it writes into these zeros",
    "durable.sync_folder < durable.move < durable.write_file < slots.__init__": "another sync of that folder "
    "follows before anything is promised, and is not this module's to know of",
    "durable.sync_folder < durable.move < durable.write_file < identity.establish": "as for the slots",
    "durable.sync_folder < durable.move < durable.point < store.activate": "the slot decides: a start points "
    "the link where it says",
}


@define
class Judge:
    """Makes states in a folder and checks them."""

    _stock: Stock
    _folder: Path
    _check: Check

    def problem(self, state: State, promised: list[object]) -> str | None:
        """What is wrong with a state; None if nothing is."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        state.materialise(self._folder)
        try:
            self._check(self._folder, self._stock, promised)
        except (EdgeError, Wrong, OSError, AssertionError) as e:
            return f"{type(e).__name__}: {e}"
        return None

    def all_states(self, row: Row, recording: Recording, limit: int, seed: int, sample: int) -> Row:
        """Check every state, or about `sample` of them, spread evenly."""
        found = list(states(recording, limit, seed))
        step = max(1.0, len(found) / sample) if sample else 1.0
        row.notes.append(f"{len(recording.ops)} operations, {len(found)} states")
        for index in range(int(len(found) / step)):
            count, state, promised = found[int(index * step)]
            row.tried += 1
            if (problem := self.problem(state, promised)) is not None:
                row.failures.append(f"after {count} operations: {problem}")
        return row


def first_bad(
    recording: Recording, site: str, limit: int, seed: int, judge: Callable[[State, list[object]], str | None]
) -> tuple[int, str | None]:
    """How many states without the fsync of a site it took to find a bad one, and what is wrong with that."""
    begin = next(index for index, op in enumerate(recording.ops) if op.site == site)
    tried = 0
    for _, state, promised in states(recording.without(site), limit, seed, begin):
        tried += 1
        if (problem := judge(state, promised)) is not None:
            return tried, problem
    return tried, None

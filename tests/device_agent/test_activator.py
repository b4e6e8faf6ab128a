"""Deployments on a real store: what is active when the agent dies, or the medium fails, at any moment."""

import asyncio
import errno
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device_agent.activator import Activator
from device_agent.bundle import Bundle
from device_agent.deadlines import Deadlines
from device_agent.errors import (
    ActivationFailed,
    DeploymentConflict,
    EdgeError,
    InvalidBundle,
    NothingToRollBack,
    UnknownModel,
)
from device_agent.protocol import Event
from device_agent.records import RecordFile
from device_agent.store import Store
from device_agent.uploads import Uploads
from tests.device_agent.faults import Crash, crash_at, fail_at, faulty, nothing, tear_at
from tests.device_agent.harness import DirectLive, make_bundle

NAME = "digits"


class Device:
    """A store, its records and an activator over them, as an agent opens them."""

    def __init__(
        self, state: Path, *, live: DirectLive | None = None, deadlines: Deadlines | None = None
    ) -> None:
        self.store = Store(state)
        self.live = live or DirectLive()
        self.activator = Activator(self.store, RecordFile(state), self.live, deadlines)
        self.activator.start()
        self.uploads = Uploads(self.store)
        self.states: list[str] = []

    def push(self, bundle: Bundle) -> None:
        for digest in (bundle.manifest_digest, *(blob.digest for blob in bundle.manifest.blobs())):
            data = bundle.blob_path(digest).read_bytes()
            upload = self.uploads.create(digest, len(data))
            if upload.offset < upload.length:
                self.uploads.append(upload.id, 0, data, hashlib.sha256(data).digest())

    def deploy(self, bundle: Bundle) -> int:
        self.push(bundle)
        deployed = asyncio.run(self.activator.deploy(NAME, bundle.manifest_digest, self._emit))
        return deployed.status.generation

    def rollback(self) -> int:
        return asyncio.run(self.activator.rollback(NAME, self._emit)).status.generation

    def remove(self) -> None:
        asyncio.run(self.activator.remove(NAME))

    def answering(self) -> tuple[int, str]:
        """The generation that answers and its manifest, after its golden samples have been replayed."""
        asyncio.run(self.live.probe(NAME))
        generation = self.live.live[NAME]
        status = self.activator.status(NAME)
        assert (generation.number, generation.manifest_digest) == (status.generation, status.manifest_digest)
        return generation.number, generation.manifest_digest

    def _emit(self, event: Event) -> None:
        self.states.append(event.state or "")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder in memory where there is such a file system: these tests sync thousands of times."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder) / "state"


@pytest.fixture
def bundles(tmp_path: Path) -> list[Bundle]:
    """Three bundles of the same name."""
    return [make_bundle(tmp_path / f"b{seed}", seed=seed) for seed in range(3)]


@pytest.fixture
def device(state: Path, bundles: list[Bundle]) -> Device:
    """A device with the first two bundles deployed."""
    made = Device(state)
    assert [1, 2] == [made.deploy(bundle) for bundle in bundles[:2]]
    return made


def test_deploy_goes_through_every_state(state: Path, bundles: list[Bundle]) -> None:
    """The states are reported in order, and the model answers."""
    device = Device(state)
    assert 1 == device.deploy(bundles[0])
    assert ["STAGING", "VERIFIED", "PREFLIGHT", "ACTIVATING", "PROBING", "COMMITTED"] == device.states
    assert (1, bundles[0].manifest_digest) == device.answering()
    assert (1, bundles[0].manifest_digest) == Device(state).answering()


def test_same_bundle_again_writes_nothing(device: Device, bundles: list[Bundle]) -> None:
    """Deploying what is active changes nothing on disk and says so."""
    with faulty(nothing) as counter:
        deployed = asyncio.run(device.activator.deploy(NAME, bundles[1].manifest_digest, lambda _: None))
    assert (True, 2) == (deployed.unchanged, deployed.status.generation)
    assert [] == counter.calls


def test_rollback_then_nothing_to_roll_back(device: Device, bundles: list[Bundle], state: Path) -> None:
    """A rollback brings the generation before back, once; numbers are never used again."""
    assert 1 == device.rollback()
    assert (1, bundles[0].manifest_digest) == Device(state).answering()
    with pytest.raises(NothingToRollBack):
        device.rollback()
    assert 3 == device.deploy(bundles[1])
    assert "1 2 1 3" == " ".join(str(entry.generation) for entry in device.activator.history(NAME))


def test_only_current_and_last_good_are_kept(device: Device, bundles: list[Bundle], state: Path) -> None:
    """A third deployment collects the first generation and the blobs that only it needed."""
    device.deploy(bundles[2])
    assert (2, 3) == device.store.numbers(NAME)
    left = {path.name for path in (state / "blobs" / "sha256").iterdir()}
    wanted = {
        d.removeprefix("sha256:")
        for number in (2, 3)
        for d in device.store.generation(NAME, number).digests()
    }
    assert wanted == left


def test_removal_leaves_the_numbers_and_the_history(
    device: Device, bundles: list[Bundle], state: Path
) -> None:
    """A removed model is gone with its files; deployed again it goes on counting."""
    device.remove()
    with pytest.raises(UnknownModel):
        device.activator.status(NAME)
    assert [] == list((state / "models").iterdir())
    assert [] == list((state / "blobs" / "sha256").iterdir())
    again = Device(state)
    assert 2 == len(again.activator.history(NAME))
    assert 3 == again.deploy(bundles[0])


def test_wrong_golden_outputs_roll_back(device: Device, bundles: list[Bundle], tmp_path: Path) -> None:
    """A model that computes something else than the host did never stays active, and the figures are told."""
    bad = make_bundle(tmp_path / "bad", seed=9, corrupt=True)
    device.states.clear()
    with pytest.raises(ActivationFailed, match=r"scores9 differs by 0\.\d+ \(tolerance 0.001\)"):
        device.deploy(bad)
    assert ["STAGING", "VERIFIED", "PREFLIGHT", "ROLLING_BACK", "ROLLED_BACK"] == device.states
    assert (2, bundles[1].manifest_digest) == device.answering()
    assert (3, "ROLLED_BACK") == (
        device.activator.history(NAME)[-1].generation,
        device.activator.history(NAME)[-1].outcome,
    )
    assert (1, 2) == device.store.numbers(NAME)
    assert 4 == device.deploy(bundles[2])


def test_first_deployment_that_fails_leaves_nothing(state: Path, tmp_path: Path) -> None:
    """Without a generation to go back to, a failed deployment leaves no model."""
    device = Device(state)
    with pytest.raises(ActivationFailed):
        device.deploy(make_bundle(tmp_path / "bad", corrupt=True))
    assert "FAILED" == device.states[-1]
    assert () == device.activator.statuses()
    assert [] == list((state / "models").iterdir())


def test_damaged_blob_is_found_before_it_is_active(
    device: Device, bundles: list[Bundle], tmp_path: Path
) -> None:
    """A blob that changed on the disk after it was uploaded is refused, removed, and can be sent again."""
    bundle = make_bundle(tmp_path / "b9", seed=9)
    device.push(bundle)
    blob = device.store.blob_path(bundle.manifest.layers[0].digest)
    blob.chmod(0o600)
    blob.write_bytes(blob.read_bytes().replace(b"edge", b"EDGE"))
    with pytest.raises(InvalidBundle, match="damaged"):
        asyncio.run(device.activator.deploy(NAME, bundle.manifest_digest, lambda _: None))
    assert (2, bundles[1].manifest_digest) == device.answering()
    assert 4 == device.deploy(bundle)


def test_two_operations_at_once(device: Device, bundles: list[Bundle]) -> None:
    """While one operation on a name is under way, every other one is refused at once."""
    device.push(bundles[2])

    async def race() -> list[object]:
        deploys = [
            device.activator.deploy(NAME, bundles[2].manifest_digest, lambda _: None) for _ in range(20)
        ]
        others = [device.activator.rollback(NAME, lambda _: None), device.activator.remove(NAME)]
        return list(await asyncio.gather(*deploys, *others, return_exceptions=True))

    first, *rest = asyncio.run(race())
    assert not isinstance(first, BaseException)
    assert [DeploymentConflict] * 21 == [type(answer) for answer in rest]
    assert 3 == device.answering()[0]


def test_lost_slots_are_rebuilt_from_the_links(device: Device, bundles: list[Bundle], state: Path) -> None:
    """Without any record, what the links name still answers, and numbers go on."""
    for index in (0, 1):
        (state / f"state.{index}").unlink()
    again = Device(state)
    assert (2, bundles[1].manifest_digest) == again.answering()
    assert 3 == again.deploy(bundles[2])


Operation = Callable[[Device, list[Bundle]], object]
OPERATIONS: dict[str, Operation] = {
    "deploy": lambda device, bundles: device.deploy(bundles[2]),
    "rollback": lambda device, _: device.rollback(),
    "remove": lambda device, _: device.remove(),
}


def calls_of(device: Device, operation: str, bundles: list[Bundle], template: Path) -> int:
    """How many changing calls an operation makes."""
    shutil.copytree(device.store.root, template, symlinks=True)
    with faulty(nothing) as counter:
        OPERATIONS[operation](device, bundles)
    return counter.count


def copy_of(template: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder, symlinks=True)
    return folder


@pytest.mark.parametrize("fault", [crash_at, tear_at])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_death_at_any_call_leaves_a_committed_model(
    operation: str,
    fault: Callable[[int], Callable[..., object]],
    device: Device,
    bundles: list[Bundle],
    tmp_path: Path,
) -> None:
    """Killed before any changing call, the agent comes back with the old model or the new one, whole."""
    template = device.store.root.with_name("template")
    count = calls_of(device, operation, bundles, template)
    assert count > 5
    digests = {1: bundles[0].manifest_digest, 2: bundles[1].manifest_digest, 3: bundles[2].manifest_digest}
    seen = set()
    for k in range(1, count + 1):
        dying = Device(copy_of(template, template.with_name("copy")))
        with faulty(fault(k)), pytest.raises(Crash):
            OPERATIONS[operation](dying, bundles)
        again = Device(dying.store.root)
        if operation == "remove" and not again.activator.statuses():
            assert [] == list((dying.store.root / "models").iterdir())
            seen.add(0)
        else:
            number, digest = again.answering()
            assert digests[number] == digest
            assert number == again.store.current(NAME)
            seen.add(number)
        last = max(entry.generation for entry in again.activator.history(NAME))
        assert last < again.deploy(make_bundle(tmp_path / "next", seed=7))
    assert {"deploy": {2, 3}, "rollback": {1, 2}, "remove": {0, 2}}[operation] == seen


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("operation", ["deploy", "rollback"])
def test_medium_that_fails_at_any_call_leaves_a_model_answering(
    operation: str, code: int, lasting: bool, device: Device, bundles: list[Bundle], tmp_path: Path
) -> None:
    """Whichever changing call fails, the operation succeeds or says so, and a whole model answers."""
    template = device.store.root.with_name("template")
    count = calls_of(device, operation, bundles, template)
    digests = {1: bundles[0].manifest_digest, 2: bundles[1].manifest_digest, 3: bundles[2].manifest_digest}
    new = {"deploy": 3, "rollback": 1}[operation]
    refusals = set()
    for k in range(1, count + 1):
        device = Device(copy_of(template, template.with_name("copy")))
        expected = 2
        with faulty(fail_at(k, code=code, lasting=lasting)):
            try:
                OPERATIONS[operation](device, bundles)
                expected = new
            except EdgeError as e:
                refusals.add(e.code)
            assert (expected, digests[expected]) == device.answering()
        assert (expected, digests[expected]) == device.answering()
        again = Device(device.store.root)
        if not lasting:  # otherwise what the client was told could not be recorded
            assert (expected, digests[expected]) == again.answering()
        assert digests[again.answering()[0]] == again.answering()[1]
        assert again.deploy(make_bundle(tmp_path / "next", seed=7)) > 2
    relieved = operation == "rollback" and code == errno.ENOSPC and not lasting  # by the ballast
    assert (set() if relieved else {"disk_full" if code == errno.ENOSPC else "device_error"}) == refusals

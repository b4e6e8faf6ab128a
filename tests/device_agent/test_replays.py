"""What was accepted once is not accepted again, whatever happened to the device in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from device_agent import identity, signers
from device_agent.activation import MAX_MODELS
from device_agent.bundle import Bundle
from device_agent.errors import (
    ActivationFailed,
    InvalidBundle,
    InvalidRequest,
    ReplayedGeneration,
    Unsigned,
    WrongDevice,
)
from device_agent.live import Checked
from device_agent.records import RecordFile
from device_agent.statement import Selector
from device_agent.store import Generation
from device_agent.trust import Offer
from tests.device_agent.harness import AgentProcess, DirectLive, make_bundle
from tests.device_agent.trusted import NAME, Device, World, ask, keygen, public, send, sign


def _slots(state: Path) -> None:
    for index in (0, 1):
        (state / f"state.{index}").unlink()


def _slots_torn(state: Path) -> None:
    for index in (0, 1):
        path = state / f"state.{index}"
        path.write_bytes(bytes(path.stat().st_size))


def _copy(state: Path) -> None:
    (state / "trust/generations.json").unlink()


def _copy_damaged(state: Path) -> None:
    (state / "trust/generations.json").write_text("{")


def _slots_and_copy(state: Path) -> None:
    _slots(state)
    _copy(state)


def _old_records(state: Path) -> None:
    """As an agent from before there were signatures would write them."""
    records = RecordFile(state)
    records.update(NAME, lambda record: evolve(record, signed=0))


def _nothing(state: Path) -> None:
    pass


MEANWHILE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a restart": ("", _nothing),
    "a rollback": ("rollback", _nothing),
    "a removal": ("remove", _nothing),
    "both slots of the records deleted": ("", _slots),
    "both slots of the records overwritten": ("", _slots_torn),
    "a rollback, and both slots deleted": ("rollback", _slots),
    "a removal, and both slots deleted": ("remove", _slots),
    "the copy of the generations deleted": ("rollback", _copy),
    "the copy of the generations damaged": ("rollback", _copy_damaged),
    "slots and copy deleted": ("", _slots_and_copy),
    "an agent that knew of no signatures": ("rollback", _old_records),
}


@pytest.fixture
def bundles(tmp_path: Path) -> list[Bundle]:
    """Three bundles of one name."""
    return [make_bundle(tmp_path / str(seed), seed=seed) for seed in (1, 2, 3)]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """A device with one signer, nothing deployed."""
    return Device(tmp_path)


@pytest.mark.parametrize("what", MEANWHILE)
def test_replay(device: Device, bundles: list[Bundle], what: str) -> None:
    """The statements that were accepted before are refused, and the next one is taken."""
    operation, change = MEANWHILE[what]
    used = _deploy_two(device, bundles)
    if operation == "rollback":
        asyncio.run(device.activator.rollback(NAME, lambda _: None))
    elif operation == "remove":
        asyncio.run(device.activator.remove(NAME))
    change(device.state)
    device.start()
    for bundle, offer in zip(bundles, used, strict=False):
        device.push(bundle)
        if bundle.manifest_digest == device.active():  # nothing is activated by it
            assert device.deploy(bundle, offer).unchanged
            continue
        with pytest.raises(ReplayedGeneration):
            device.deploy(bundle, offer)
    device.push(bundles[2])
    assert not device.deploy(bundles[2], device.offer(bundles[2], 4)).unchanged
    assert bundles[2].manifest_digest == device.active()


def test_comparing_uses_up_no_generation(tmp_path: Path) -> None:
    """Nothing is recorded: the winner is deployed with its very statement; then the loser's is worthless."""
    with AgentProcess(tmp_path / "state") as agent:
        world = World(tmp_path, agent)
        before = world.standing()
        other = make_bundle(tmp_path / "other", seed=4)
        world.client.push(other)
        texts = {bundle.manifest_digest: world.statement(bundle) for bundle in (world.next, other)}
        winner, loser = ((digest, text, sign(text, world.signer)) for digest, text in texts.items())
        for offered in (winner, loser, winner):
            assert [None, None] == [row["error"] for row in ask(world, "compare", offered)["candidates"]]
        with pytest.raises(InvalidRequest, match="processors"):  # admitted: it is the runtime that refuses
            ask(world, "query", winner)
        assert before == world.standing()
        assert 3 == send(world.client, *winner)["status"]["generation"]
        for route in ("compare", "query", "deploy"):
            with pytest.raises(ReplayedGeneration):
                ask(world, route, loser)


def test_replay_after_kill(tmp_path: Path) -> None:
    """The same of a real agent that was killed after a rollback."""
    with AgentProcess(tmp_path / "state") as agent:
        world = World(tmp_path, agent)
        assert 1 == world.client.rollback(NAME)["status"]["generation"]
        agent.kill()
    with AgentProcess(tmp_path / "state") as agent:
        digest, text, signature = world.used[3]
        agent.client.push(world.active)
        with pytest.raises(ReplayedGeneration):
            send(agent.client, digest, text, signature)
        assert True is send(agent.client, *world.used[2])["unchanged"]


def test_failed_deployment_uses_nothing_up(device: Device, bundles: list[Bundle], tmp_path: Path) -> None:
    """A statement whose bundle failed may be sent again; it is used up by what is committed only."""
    _deploy_two(device, bundles)
    corrupt = make_bundle(tmp_path / "corrupt", seed=4, corrupt=True)
    device.push(corrupt)
    for _ in range(2):
        with pytest.raises(ActivationFailed):
            device.deploy(corrupt, device.offer(corrupt, 4))
        assert 3 == device.highest()
    device.push(bundles[2])
    assert not device.deploy(bundles[2], device.offer(bundles[2], 4)).unchanged


def test_newer_statement_for_what_is_active(device: Device, bundles: list[Bundle]) -> None:
    """Signed anew, what is active stays as it is, and the new statement is used up as well."""
    _deploy_two(device, bundles)
    anew = device.offer(bundles[1], 7)
    assert device.deploy(bundles[1], anew).unchanged
    assert (7, anew.statement) == (device.highest(), device.activator.signature(NAME).statement)
    asyncio.run(device.activator.rollback(NAME, lambda _: None))
    device.push(bundles[1])
    with pytest.raises(ReplayedGeneration):
        device.deploy(bundles[1], anew)


def test_statement_is_kept_with_its_generation(device: Device, bundles: list[Bundle]) -> None:
    """What was signed and the signature lie beside the manifest, private."""
    used = _deploy_two(device, bundles)[1]
    folder = device.state / "models" / NAME / "current"
    files = [folder / "statement.json", folder / "manifest.sig"]
    assert [used.statement, used.signature] == [file.read_text() for file in files]
    assert [0o600, 0o600] == [file.stat().st_mode & 0o777 for file in files]


@pytest.mark.parametrize("file", ["model.json", "golden_outputs.safetensors", "manifest.json"])
def test_changed_between_check_and_activation(tmp_path: Path, bundles: list[Bundle], file: str) -> None:
    """A file that is exchanged after it was verified, while the preflight runs, is not activated."""

    class Exchanging(DirectLive):
        async def preflight(self, generation: Generation) -> Checked:
            checked = await super().preflight(generation)
            path = generation.folder / file
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data + b" ")
            return checked

    device = Device(tmp_path, Exchanging())
    device.push(bundles[0])
    with pytest.raises(InvalidBundle):
        device.deploy(bundles[0], device.offer(bundles[0], 1))
    assert (None, 0) == (device.active(), device.highest())


def test_exchange_of_the_manifest_blob(device: Device, bundles: list[Bundle]) -> None:
    """A manifest blob that was exchanged on disk is found out, and removed."""
    device.push(bundles[0])
    path = device.store.blob_path(bundles[0].manifest_digest)
    path.unlink()
    path.write_bytes(b"{}")
    with pytest.raises(InvalidBundle):
        device.deploy(bundles[0], device.offer(bundles[0], 1))
    assert (None, False) == (device.active(), path.exists())


def test_lost_identity_is_another_device(device: Device, bundles: list[Bundle]) -> None:
    """The id stays over restarts; where its file is lost, what was signed for the old one is refused."""
    device.push(bundles[0])
    device.start()
    device.deploy(bundles[0], device.offer(bundles[0], 1))
    (device.state / "device.json").write_text('{"id":"../x"}')
    device.start()
    device.push(bundles[1])
    with pytest.raises(WrongDevice):
        device.deploy(bundles[1], device.offer(bundles[1], 2))


def test_board_selector(device: Device, bundles: list[Bundle]) -> None:
    """Told which board it is, a device takes what was signed for that board."""
    device.push(bundles[0])
    offer = device.offer(bundles[0], 1, Selector(targets=("rpi4",)))
    identity.set_target(device.state, "rpi5")
    with pytest.raises(WrongDevice):
        device.deploy(bundles[0], offer)
    assert device.device_id == identity.set_target(device.state, "rpi4").id
    assert 1 == device.deploy(bundles[0], offer).status.generation


def test_forgotten_names_keep_the_count(device: Device) -> None:
    """A name that is forgotten, because there were too many, leaves its count to those that come."""
    records = device.records
    for index in range(MAX_MODELS + 1):
        records.update(f"m{index}", lambda record, n=index: evolve(record, signed=1000 - n))
    assert (1000, 1000) == (records.get("m0").signed, records.get("new").signed)
    assert 1000 == RecordFile(device.state).get("new").signed


def test_wrong_clock(device: Device, bundles: list[Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose clock says 1970, or is decades ahead, takes what is signed and no replay."""
    for index, year in enumerate((0.0, 4e9)):
        monkeypatch.setattr(time, "time", lambda now=year: now)
        device.push(bundles[index])
        device.deploy(bundles[index], device.offer(bundles[index], index + 1))
    device.push(bundles[0])
    with pytest.raises(ReplayedGeneration):
        device.deploy(bundles[0], device.offer(bundles[0], 1))


def test_unsigned_until_there_is_a_signer(tmp_path: Path, bundles: list[Bundle]) -> None:
    """Without a signer everything is taken; once there was one, nothing unsigned is."""
    state = tmp_path / "state"
    with AgentProcess(state) as agent:
        agent.client.deploy(bundles[0])
        assert "off" == agent.client.json("GET", "/edge/v1/agent")["trust"]["policy"]
        key = keygen(tmp_path / "user")
        signers.add(state, public(key))
        for _ in range(2):
            assert "require" == agent.client.json("GET", "/edge/v1/agent")["trust"]["policy"]
            with pytest.raises(Unsigned):
                agent.client.deploy(bundles[1])
            signers.revoke(state, public(key))
    with AgentProcess(state, "--accept-unsigned") as agent:
        assert "accepts unsigned" == agent.client.json("GET", "/edge/v1/agent")["trust"]["policy"]
        assert "UNSIGNED" in agent.log.read_text()
        assert 2 == agent.client.deploy(bundles[1])["status"]["generation"]


def _deploy_two(device: Device, bundles: list[Bundle]) -> list[Offer]:
    """Deploy the first bundle with generation 2, then the second with 3; what was signed."""
    used = []
    for generation, bundle in ((2, bundles[0]), (3, bundles[1])):
        device.push(bundle)
        used.append(device.offer(bundle, generation))
        device.deploy(bundle, used[-1])
    return used

"""What was accepted once is not accepted again, whatever happened to the device in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from device_agent.errors import DeviceError, EdgeError, ReplayedGeneration
from device_agent.protocol import Parity
from device_agent.records import RecordFile
from device_agent.store import Generation, Store
from tests.device_agent.harness import AgentProcess, DirectLive, make_bundle
from tests.device_agent.trusted import NAME, World, deploy_with, edge_agent, keygen, public, send, sign


def _slots(state: Path) -> None:
    for index in (0, 1):
        (state / f"state.{index}").unlink()


def _slots_torn(state: Path) -> None:
    for index in (0, 1):
        path = state / f"state.{index}"
        path.write_bytes(bytes(path.stat().st_size))


def _copy(state: Path) -> None:
    (state / "trust/generations.json").unlink()


def _slots_and_copy(state: Path) -> None:
    _slots(state)
    _copy(state)


def _old_records(state: Path) -> None:
    """As an agent from before there were signatures would write them."""
    records = RecordFile(state)
    records.update(NAME, lambda record: evolve(record, signed=0))


def _nothing(state: Path) -> None:
    pass


MEANWHILE: dict[str, tuple[str, bool, Callable[[Path], None]]] = {
    "a restart": ("", False, _nothing),
    "kill -9": ("", True, _nothing),
    "a rollback": ("rollback", False, _nothing),
    "a rollback and kill -9": ("rollback", True, _nothing),
    "a removal": ("remove", False, _nothing),
    "both slots of the records deleted": ("", True, _slots),
    "both slots of the records overwritten": ("", True, _slots_torn),
    "a rollback, and both slots deleted": ("rollback", True, _slots),
    "a removal, and both slots deleted": ("remove", True, _slots),
    "the copy of the generations deleted": ("rollback", True, _copy),
    "slots and copy deleted": ("", True, _slots_and_copy),
    "an agent that knew of no signatures": ("rollback", False, _old_records),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_replay(tmp_path: Path, what: str) -> None:
    """The statements that were accepted before are refused, and the next one is taken."""
    operation, kill, change = MEANWHILE[what]
    state = tmp_path / "state"
    with AgentProcess(state) as agent:
        world = World(tmp_path, agent)
        if operation == "rollback":
            assert 1 == world.client.rollback(NAME)["status"]["generation"]
        elif operation == "remove":
            world.client.ok("DELETE", f"/edge/v1/models/{NAME}")
        if kill:
            agent.kill()
    change(state)
    with AgentProcess(state) as agent:
        for bundle, generation in ((world.before, 2), (world.active, 3)):
            digest, text, signature = world.used[generation]
            agent.client.push(bundle)
            if operation != "remove" and digest == _active(agent):
                continue  # that changes nothing: it is what is active
            with pytest.raises(ReplayedGeneration):
                send(agent.client, digest, text, signature)
        world.client = agent.client
        agent.client.push(world.next)
        world.deploy(world.next, 4)
        assert world.next.manifest_digest == _active(agent)


def test_failed_deployment_uses_nothing_up(tmp_path: Path) -> None:
    """A statement whose bundle failed may be sent again; it is used up by what is committed only."""
    with AgentProcess(tmp_path / "state") as agent:
        world = World(tmp_path, agent)
        corrupt = make_bundle(tmp_path / "corrupt", seed=4, corrupt=True)
        agent.client.push(corrupt)
        for _ in range(2):
            with pytest.raises(EdgeError) as caught:
                world.deploy(corrupt, 4)
            assert "activation_failed" == caught.value.code
        assert False is world.deploy(world.next, 4)["unchanged"]


def test_newer_statement_for_what_is_active(tmp_path: Path) -> None:
    """Signed anew, what is active stays as it is, and the new statement is used up as well."""
    with AgentProcess(tmp_path / "state") as agent:
        world = World(tmp_path, agent)
        assert True is world.deploy(world.active, 7)["unchanged"]
        assert 7 == agent.client.json("GET", f"/edge/v1/models/{NAME}/signature")["highest_generation"]
        agent.client.rollback(NAME)
        with pytest.raises(ReplayedGeneration):
            send(agent.client, *world.used[7])


def test_statement_is_kept_with_its_generation(tmp_path: Path) -> None:
    """What was signed and the signature lie beside the manifest, private."""
    with AgentProcess(tmp_path / "state") as agent:
        world = World(tmp_path, agent)
        folder = world.state / "models" / NAME / "current"
        assert world.used[3][1:] == (
            (folder / "statement.json").read_text(), (folder / "manifest.sig").read_text()
        )  # fmt: skip


@pytest.mark.parametrize("file", ["model.json", "golden_outputs.safetensors", "manifest.json"])
def test_changed_between_check_and_activation(tmp_path: Path, file: str) -> None:
    """A file that is exchanged after it was verified, while the preflight runs, is not activated."""

    class Exchanging(DirectLive):
        async def preflight(self, generation: Generation) -> Parity:
            parity = await super().preflight(generation)
            path = generation.folder / file
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data + b" ")
            return parity

    state = tmp_path / "state"
    store = Store(state)
    key = keygen(tmp_path / "signer")
    assert 0 == edge_agent(state, "signers", "add", stdin=public(key)).returncode
    bundle = make_bundle(tmp_path / "bundle", seed=1)
    with pytest.raises(EdgeError) as caught:
        deploy_with(store, RecordFile(state), Exchanging(), bundle, key)
    assert "invalid_bundle" == caught.value.code
    assert store.current(NAME) is None


def test_exchange_of_the_manifest_blob(tmp_path: Path) -> None:
    """A manifest blob that was exchanged on disk is found out, and removed."""
    state = tmp_path / "state"
    store = Store(state)
    key = keygen(tmp_path / "signer")
    assert 0 == edge_agent(state, "signers", "add", stdin=public(key)).returncode
    bundle = make_bundle(tmp_path / "bundle", seed=1)

    def exchange() -> None:
        path = store.blob_path(bundle.manifest_digest)
        path.unlink()
        path.write_bytes(b"{}")

    with pytest.raises(EdgeError) as caught:
        deploy_with(store, RecordFile(state), DirectLive(), bundle, key, before=exchange)
    assert "invalid_bundle" == caught.value.code


def test_lost_identity_is_another_device(tmp_path: Path) -> None:
    """The id stays over restarts; where its file is lost, what was signed for the old one is refused."""
    with AgentProcess(tmp_path / "state") as agent:
        world = World(tmp_path, agent)
    with AgentProcess(tmp_path / "state") as agent:
        assert world.device_id == agent.client.json("GET", "/edge/v1/agent")["trust"]["device_id"]
    (tmp_path / "state/device.json").write_text('{"id":"../x"}')
    with AgentProcess(tmp_path / "state") as agent:
        text = world.statement(world.next)
        with pytest.raises(EdgeError) as caught:
            send(agent.client, world.next.manifest_digest, text, sign(text, world.signer))
        assert "wrong_device" == caught.value.code


def test_board_selector(tmp_path: Path) -> None:
    """Told which board it is, a device takes what was signed for that board."""
    with AgentProcess(tmp_path / "state") as agent:
        world = World(tmp_path, agent)
        assert 0 == edge_agent(world.state, "identity", "--target", "rpi4").returncode
        text = world.statement(world.next, selector={"devices": [], "targets": ["rpi4"]})
        done = send(agent.client, world.next.manifest_digest, text, sign(text, world.signer))
        assert 3 == done["status"]["generation"]


def test_unsigned_until_there_is_a_signer(tmp_path: Path) -> None:
    """Without a signer everything is taken; once there was one, nothing unsigned is."""
    state = tmp_path / "state"
    with AgentProcess(state) as agent:
        bundles = [make_bundle(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
        agent.client.deploy(bundles[0])
        assert "off" == agent.client.json("GET", "/edge/v1/agent")["trust"]["policy"]
        key = keygen(tmp_path / "signer")
        assert 0 == edge_agent(state, "signers", "add", stdin=public(key)).returncode
        for _ in range(2):
            assert "require" == agent.client.json("GET", "/edge/v1/agent")["trust"]["policy"]
            with pytest.raises(DeviceError) as caught:
                agent.client.deploy(bundles[1])
            assert "unsigned" == caught.value.code
            assert 0 == edge_agent(state, "signers", "revoke", stdin=public(key)).returncode
    with AgentProcess(state, "--accept-unsigned") as agent:
        assert "accepts unsigned" == agent.client.json("GET", "/edge/v1/agent")["trust"]["policy"]
        assert "UNSIGNED" in agent.log.read_text()
        assert 2 == agent.client.deploy(bundles[1])["status"]["generation"]


def _active(agent: AgentProcess) -> str | None:
    rows: list[dict[str, Any]] = agent.client.json("GET", "/edge/v1/models")
    return next((row["manifest_digest"] for row in rows), None)

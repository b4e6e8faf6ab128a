"""Deadlines: an operation that stays too long in a state goes back by itself, whatever it hangs in."""

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from device_agent.activation import State
from device_agent.bundle import MODEL_TYPE, Bundle, TensorSpec, write_bundle
from device_agent.deadlines import DEFAULTS_S, Deadlines, parse
from device_agent.errors import ActivationOverdue, DeploymentConflict, InvalidRequest
from device_agent.live import Checked
from device_agent.protocol import Event
from device_agent.runtimes.null import null_model
from device_agent.store import Generation
from tests.device_agent import trusted
from tests.device_agent.faults import faulty
from tests.device_agent.harness import NULL_INPUT, AgentProcess, DirectLive, make_bundle
from tests.device_agent.test_activator import Device

NAME = "digits"
SHORT_S = 0.2


def test_every_state_has_a_deadline() -> None:
    """Only IDLE, in which nothing is done, has none."""
    assert set(State) - {State.IDLE} == set(DEFAULTS_S)


def test_time_left() -> None:
    """What is left goes down to nothing and not below it."""
    deadlines = parse("PROBING=3")
    assert [3.0, 1.0, 0.0, 0.0] == [deadlines.left(State.PROBING, s) for s in (0, 2, 3, 4)]
    assert DEFAULTS_S[State.STAGING] == deadlines.left(State.STAGING, 0)


@pytest.mark.parametrize("text", ["IDLE=1", "PROBING", "PROBING=0", "PROBING=nan", "PROBING=inf", "X=1"])
def test_deadline_that_makes_no_sense(text: str) -> None:
    """It is refused, and the message lists the states."""
    with pytest.raises(InvalidRequest, match="ROLLING_BACK"):
        parse(f"STAGING=1, {text}")


def shortened(*states: State) -> Deadlines:
    return Deadlines({**DEFAULTS_S, **dict.fromkeys(states, SHORT_S)})


class HangingLive(DirectLive):
    """Its preflight or probe never ends."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.state: State | None = None
        self._hangs_in = state

    async def preflight(self, generation: Generation) -> Checked:
        await self._maybe(State.PREFLIGHT)
        return await super().preflight(generation)

    async def probe(self, name: str) -> Checked:
        await self._maybe(State.PROBING)
        return await DirectLive.preflight(self, self.live[name])

    async def _maybe(self, state: State) -> None:
        if self.state is state is self._hangs_in:
            await asyncio.Event().wait()


class Held:
    """The medium: a changing call that `chosen` picks does not return before `let_go` is called."""

    def __init__(self, chosen: Callable[[str, tuple[Any, ...]], bool]) -> None:
        self._chosen = chosen
        self._gate = threading.Event()

    def fault(self, _: int, do: Callable[[], Any], name: str, arguments: tuple[Any, ...]) -> Any:
        if self._chosen(name, arguments):
            self._gate.wait(60)
        return do()

    def let_go(self) -> None:
        self._gate.set()


def record_write(n: int) -> Callable[[str, tuple[Any, ...]], bool]:
    """The n-th time that records are written."""
    seen: list[int] = []

    def chosen(name: str, arguments: tuple[Any, ...]) -> bool:
        if name == "pwrite" and bytes(arguments[1][:8]) == b"EDGESLOT":
            seen.append(1)
            return len(seen) == n
        return False

    return chosen


def call(wanted: str) -> Callable[[str, tuple[Any, ...]], bool]:
    """Every call of a name."""
    return lambda name, _: name == wanted


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder) / "state"


@pytest.fixture
def bundles(tmp_path: Path) -> list[Bundle]:
    return [make_bundle(tmp_path / f"b{seed}", seed=seed) for seed in range(4)]


def outcome(device: Device) -> tuple[str, str]:
    entry = device.activator.history(NAME)[-1]
    return entry.outcome, entry.reason


@pytest.mark.parametrize("state_name", ["PREFLIGHT", "PROBING"])
def test_model_that_hangs(state_name: str, state: Path, bundles: list[Bundle]) -> None:
    """The generation before answers again, the history names the state, and the next deployment works."""
    hanging = State(state_name)
    live = HangingLive(hanging)
    device = Device(state, live=live, deadlines=shortened(hanging))
    assert 1 == device.deploy(bundles[0])
    live.state = hanging
    with pytest.raises(ActivationOverdue, match=f"{state_name} did not end within 0.2 s"):
        device.deploy(bundles[1])
    live.state = None
    assert (1, bundles[0].manifest_digest) == device.answering()
    assert "ROLLED_BACK" == outcome(device)[0]
    assert f"{state_name} did not end" in outcome(device)[1]
    assert 3 == device.deploy(bundles[2])


def test_probe_of_what_is_active_already(state: Path, bundles: list[Bundle]) -> None:
    """Deploying the active bundle again has the probe's deadline as well."""
    live = HangingLive(State.PROBING)
    device = Device(state, live=live, deadlines=shortened(State.PROBING))
    device.deploy(bundles[0])
    live.state = State.PROBING
    with pytest.raises(ActivationOverdue):
        device.deploy(bundles[0])
    assert 1 == device.activator.status(NAME).generation


HOLDS = {
    "STAGING": (record_write(1), State.STAGING),
    "STAGING, files": (call("link"), State.STAGING),
    "ACTIVATING": (call("symlink"), State.ACTIVATING),
    "PROBING, its commit": (record_write(2), State.PROBING),
}


@pytest.mark.parametrize("hold", HOLDS)
def test_medium_that_hangs(hold: str, state: Path, bundles: list[Bundle]) -> None:
    """What answered before answers at once, the model is busy as long as the medium hangs, then it is
    back to rest without anybody asking.
    """
    chosen, overdue = HOLDS[hold]
    device = Device(state, deadlines=shortened(overdue, State.ROLLING_BACK))
    device.deploy(bundles[0])
    for bundle in bundles[1:3]:
        device.push(bundle)
    held = Held(chosen)

    async def operations() -> int:
        with pytest.raises(ActivationOverdue, match=overdue.value):
            await device.activator.deploy(NAME, bundles[1].manifest_digest, lambda _: None)
        assert 1 == device.live.live[NAME].number
        with pytest.raises(DeploymentConflict):
            await device.activator.deploy(NAME, bundles[2].manifest_digest, lambda _: None)
        held.let_go()
        return await when_free(device, bundles[2])

    with faulty(held.fault):
        assert 3 == asyncio.run(operations())
    entries = [(e.generation, e.outcome) for e in device.activator.history(NAME)]
    assert [(1, "COMMITTED"), (2, "ROLLED_BACK"), (3, "COMMITTED")] == entries
    assert (3, bundles[2].manifest_digest) == Device(state).answering()


async def when_free(device: Device, bundle: Bundle) -> int:
    """Deploy as soon as the model is not busy any more; the generation."""
    while True:
        try:
            done = await device.activator.deploy(NAME, bundle.manifest_digest, lambda _: None)
        except DeploymentConflict:
            await asyncio.sleep(0)
        else:
            return done.status.generation


def test_commit_that_comes_too_late_is_taken_back(state: Path, bundles: list[Bundle]) -> None:
    """A commit that the medium finishes after its deadline does not stand: the host was told otherwise."""
    device = Device(state, deadlines=shortened(State.PROBING))
    device.deploy(bundles[0])
    device.push(bundles[1])
    held = Held(record_write(2))

    def emit(event: Event) -> None:
        if event.state == "ROLLING_BACK":
            held.let_go()

    with faulty(held.fault), pytest.raises(ActivationOverdue):
        asyncio.run(device.activator.deploy(NAME, bundles[1].manifest_digest, emit))
    for found in (device, Device(state)):
        assert (1, bundles[0].manifest_digest) == found.answering()
        assert [(1, "COMMITTED"), (2, "ROLLED_BACK")] == [
            (entry.generation, entry.outcome) for entry in found.activator.history(NAME)
        ]
    assert 3 == device.deploy(bundles[2])


def test_rollback_that_hangs(state: Path, bundles: list[Bundle], tmp_path: Path) -> None:
    """Where going back cannot be recorded in time, the failure is told, and it is recorded later."""
    device = Device(state, deadlines=shortened(State.ROLLING_BACK))
    device.deploy(bundles[0])
    bad = make_bundle(tmp_path / "bad", seed=9, corrupt=True)
    device.push(bad)
    device.push(bundles[2])
    held = Held(record_write(2))  # the first is the intent, the second how it ended
    states: list[str | None] = []

    async def operations() -> int:
        with pytest.raises(Exception, match="does not compute what the host computed"):
            await device.activator.deploy(NAME, bad.manifest_digest, lambda e: states.append(e.state))
        assert 1 == device.live.live[NAME].number
        held.let_go()
        return await when_free(device, bundles[2])

    with faulty(held.fault):
        assert 3 == asyncio.run(operations())
    assert ["ROLLING_BACK", "FAILED"] == states[-2:]
    assert "ROLLED_BACK" == device.activator.history(NAME)[1].outcome


def test_collection_that_hangs(state: Path, bundles: list[Bundle]) -> None:
    """A deployment that is committed is told so, however long its garbage takes."""
    device = Device(state, deadlines=shortened(State.COMMITTED))
    for bundle in bundles[:2]:
        device.deploy(bundle)
    for bundle in bundles[2:]:
        device.push(bundle)
    held = Held(call("rmdir"))

    async def operations() -> tuple[int, int]:
        done = await device.activator.deploy(NAME, bundles[2].manifest_digest, lambda _: None)
        held.let_go()
        return done.status.generation, await when_free(device, bundles[3])

    with faulty(held.fault):
        assert (3, 4) == asyncio.run(operations())


def test_signing_anew_that_hangs(state: Path, bundles: list[Bundle]) -> None:
    """What is active and was signed anew: a medium that hangs is told in time, and the model is busy
    until the new statement is kept.
    """
    state.mkdir()
    device = trusted.Device(state, deadlines=shortened(State.COMMITTED))
    device.push(bundles[0])
    device.deploy(bundles[0], device.offer(bundles[0], 1))
    anew = device.offer(bundles[0], 2)
    held = Held(record_write(1))

    async def operations() -> bool:
        digest = bundles[0].manifest_digest
        with pytest.raises(ActivationOverdue, match="COMMITTED did not end"):
            await device.activator.deploy(NAME, digest, lambda _: None, anew)
        with pytest.raises(DeploymentConflict):
            await device.activator.deploy(NAME, digest, lambda _: None, anew)
        held.let_go()
        while True:
            try:
                done = await device.activator.deploy(NAME, digest, lambda _: None, anew)
            except DeploymentConflict:
                await asyncio.sleep(0)
            else:
                return done.unchanged

    with faulty(held.fault):
        assert asyncio.run(operations())
    assert (2, anew.statement) == (device.highest(), device.activator.signature(NAME).statement)


def endless(folder: Path) -> Bundle:
    """A bundle whose model takes minutes to run once."""
    bundle = make_bundle(folder, seed=5)
    output = TensorSpec("scores5", "uint8", (1, 1 << 40))
    layers = {layer.title: (layer.mediaType, bundle.read(layer)) for layer in bundle.manifest.layers}
    layers["model.json"] = (MODEL_TYPE, null_model((NULL_INPUT,), (output,)))
    return write_bundle(folder / "endless", bundle.config, layers)


@pytest.mark.parametrize("state_name", ["PREFLIGHT", "PROBING"])
def test_worker_that_hangs(state_name: str, tmp_path: Path, bundles: list[Bundle]) -> None:
    """In a real agent the worker that does not end is ended, and the model before answers on."""
    with AgentProcess(tmp_path / "state") as agent:
        assert 1 == agent.client.deploy(bundles[0])["status"]["generation"]
    # of the probe only its worker's start can be made to last: what hangs would not pass the preflight
    limit_s, bundle = (1.0, endless(tmp_path)) if state_name == "PREFLIGHT" else (0.01, bundles[1])
    given = {"EDGE_AGENT_DEADLINES": f"{state_name}={limit_s}"}
    with AgentProcess(tmp_path / "state", env=given) as agent:
        with pytest.raises(ActivationOverdue, match=f"{state_name} did not end within {limit_s:g} s"):
            agent.client.deploy(bundle)
        assert 1 == agent.client.generation(NAME)
        assert "ROLLED_BACK" == agent.client.json("GET", f"/edge/v1/models/{NAME}/history")[-1]["outcome"]


def test_deadline_that_makes_no_sense_ends_the_start(tmp_path: Path) -> None:
    """An agent does not begin with a deadline that it would not keep."""
    agent = AgentProcess(tmp_path / "state", env={"EDGE_AGENT_DEADLINES": "SOON=1"})
    assert InvalidRequest.exit_code == agent.wait()
    assert "not a deadline" in agent.log.read_text()

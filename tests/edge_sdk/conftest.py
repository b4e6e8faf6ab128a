"""Fixtures of the host's side: null models, bundles of them, and an agent of the test's own."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from device_agent.bundle import Bundle
from device_agent.errors import AgentUnreachable
from edge_sdk import pipeline
from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.lifecycle import stop_agent
from edge_sdk.devices.transports.local import LocalTransport
from tests.sshd import Sshd, serving, sshd

MakeModel = Callable[..., Path]
MakeBundle = Callable[..., Bundle]


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's devices, SSH configuration, keys or agent; gives the home folder it sees."""
    folder = tmp_path_factory.mktemp("home")
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    for name in ("EDGE_DEVICES", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK", "EDGE_SSH_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An SSH server that lets the tests' key in."""
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """The state folder of an agent that runs on the other side of it."""
    folder = tmp_path / "there"
    with serving(folder):
        yield folder


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Makes a null model file; another `width` is another model."""

    def make(name: str = "toy", width: int = 4) -> Path:
        path = tmp_path / f"{name}.null.json"
        model = {
            "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, width]}],
            "outputs": [{"name": "y", "dtype": "int8", "shape": [-1, 10]}],
        }
        path.write_text(json.dumps(model))
        return path

    return make


@pytest.fixture
def make_bundle(make_model: MakeModel, tmp_path: Path) -> MakeBundle:
    """Makes a bundle of a null model; another `width` is another bundle for the same name."""

    def make(name: str = "toy", width: int = 4) -> Bundle:
        model = pipeline.load(make_model(name, width))
        conversion = pipeline.convert(model, pipeline.plan(model, "null"))
        return pipeline.pack(conversion, tmp_path / f"bundle-{name}-{width}", name=name)

    return make


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The state folder of this process's `local` device and its children's; its agent is ended."""
    folder = tmp_path / "state"
    monkeypatch.setenv("EDGE_AGENT_STATE", str(folder))
    yield folder
    stop_agent()


@pytest.fixture
def transport(state: Path) -> Iterator[LocalTransport]:
    """An open transport to an agent of the test's own."""
    made = LocalTransport(state)
    made.open()
    yield made
    with suppress(AgentUnreachable):  # the test may have killed it
        AgentClient(made).shutdown()  # ends at once, where giving the lease up would wait for others
    made.close()


@pytest.fixture
def client(transport: LocalTransport) -> Iterator[AgentClient]:
    """A client of that agent."""
    made = AgentClient(transport)
    yield made
    made.close()

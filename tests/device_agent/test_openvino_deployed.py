"""IRs on a real agent: files in the sandbox, placement in the answer, the cache beside the generation."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from device_agent.bundle import Bundle, Execution, write_bundle
from device_agent.compiled import COMPILED_FILE
from device_agent.errors import ActivationFailed, InvalidBundle
from tests.device_agent import irs
from tests.device_agent.harness import AgentProcess

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None and not os.environ.get("EDGE_EXTRAS_REQUIRED"),
    reason="openvino is not installed: the extra `openvino`",
)
ONE_RUN = {"warmup_iterations": 0, "min_iterations": 1, "min_seconds": 0.0, "max_seconds": 10.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the agent, the model and its bundles are."""
    return tmp_path_factory.mktemp("openvino")


@pytest.fixture(scope="module")
def agent(folder: Path) -> Iterator[AgentProcess]:
    """A running agent."""
    with AgentProcess(folder / "state") as running:
        yield running


@pytest.fixture(scope="module")
def net(folder: Path) -> Path:
    """An IR with a convolution."""
    return irs.convolution(folder)


@pytest.fixture(scope="module")
def deployed(agent: AgentProcess, folder: Path, net: Path) -> dict[str, Any]:
    """The answer to its deployment."""
    return agent.client.deploy(irs.bundle(folder, net))


def bundle(folder: Path, net: Path, name: str, execution: Execution) -> Bundle:
    return irs.bundle(folder, net, execution=execution, name=name)


def measure(agent: AgentProcess, **options: Any) -> dict[str, Any]:
    events = agent.client.events("/edge/v1/models/net/benchmark", {**ONE_RUN, **options})
    return dict(list(events)[-1]["result"])


def test_a_deployment_tells_where_operators_run(
    agent: AgentProcess, deployed: dict[str, Any], folder: Path, net: Path
) -> None:
    """As read from the runtime in the worker; also when nothing has changed, and in a benchmark."""
    placement = deployed["placement"]
    assert ("CPU", []) == (placement["device"], placement["departures"])
    sources = [source for operator in placement["operators"] for source in operator["sources"]]
    assert {"conv", "relu", "mean"} <= set(sources)
    again = agent.client.deploy(irs.bundle(folder, net))
    assert (True, placement) == (again["unchanged"], again["placement"])
    assert placement == measure(agent)["placement"]


def test_later_loads_are_from_the_cache(agent: AgentProcess, deployed: dict[str, Any]) -> None:
    """The preflight filled it. Options that make other code do without, and leave it as it is."""
    cache = agent.state_dir / f"models/net/gens/{deployed['status']['generation']}" / COMPILED_FILE
    first = measure(agent)
    assert (True, True) == (first["from_cache"], (first["first_load_ns"] or 0) > 0)
    content = cache.read_bytes()
    other = measure(agent, hint="throughput")
    assert (False, None) == (other["from_cache"], other["first_load_ns"])
    assert content == cache.read_bytes()
    cache.write_bytes(content[:-1])
    damaged, after = measure(agent), measure(agent)
    assert [False, True] == [damaged["from_cache"], after["from_cache"]]


def test_hetero_keeps_nothing(agent: AgentProcess, folder: Path, net: Path) -> None:
    """It is placed, and leaves no cache."""
    execution = Execution("HETERO:CPU", precision="f32", affinities={"conv": "CPU"}, strict=True)
    found = agent.client.deploy(bundle(folder, net, "hetero", execution))
    assert ("HETERO:CPU", []) == (found["placement"]["device"], found["placement"]["departures"])
    assert not list(agent.state_dir.glob(f"models/hetero/gens/*/{COMPILED_FILE}"))


def test_removed_with_its_model(agent: AgentProcess, folder: Path, net: Path) -> None:
    """Nothing of a model is left."""
    agent.client.deploy(bundle(folder, net, "gone", irs.F32))
    assert list(agent.state_dir.glob(f"models/gone/gens/*/{COMPILED_FILE}"))
    agent.client.json("DELETE", "/edge/v1/models/gone")
    assert not (agent.state_dir / "models/gone").exists()


@pytest.mark.parametrize(
    ("execution", "reason"),
    [
        (Execution("NPU.7"), r"the preflight failed: OpenVINO has no NPU\.7 here, only .*CPU"),
        (Execution("AUTO:NPU.7,CPU", strict=True), r"the preflight failed: .*NPU\.7"),
        (Execution("HETERO:CPU", affinities={"cnov": "CPU"}), "no operator of that name.*cnov"),
    ],
)
def test_what_cannot_run_there_is_refused(
    agent: AgentProcess, folder: Path, net: Path, execution: Execution, reason: str
) -> None:
    """Before it is activated, with the reason."""
    with pytest.raises(ActivationFailed, match=reason) as caught:
        agent.client.deploy(bundle(folder, net, "refused", execution))
    assert "src/" not in str(caught.value)


def test_a_bundle_without_its_weights(agent: AgentProcess, folder: Path, net: Path) -> None:
    """Config and manifest must agree on what the model consists of."""
    whole = irs.bundle(folder, net, name="torn")
    layers = {
        layer.title: (layer.mediaType, whole.read(layer))
        for layer in whole.manifest.layers
        if layer.title != "net.bin"
    }
    for config in (whole.config, evolve(whole.config, files=("plan.json",))):
        torn = write_bundle(folder / "torn", config, layers)
        with pytest.raises(InvalidBundle, match="other files of the model"):
            agent.client.deploy(torn)


def test_runtimes_are_asked_in_a_worker(agent: AgentProcess, folder: Path, net: Path) -> None:
    """Which processors there are, and which operators of an uploaded model each can run."""
    names = [row["name"] for row in agent.client.json("GET", "/edge/v1/runtimes/openvino/devices")]
    assert "CPU" in names
    asked = irs.bundle(folder, net, name="asked")
    agent.client.push(asked)
    body = {"bundle": {"manifest_digest": asked.manifest_digest}, "devices": ["CPU", "NPU.7"]}
    found = agent.client.json("POST", "/edge/v1/models/asked/query", body)
    cpu, npu = found["devices"]
    assert (found["operators"], "") == (cpu["operators"], cpu["problem"])
    assert ([], "OpenVINO has no NPU.7 here") == (npu["operators"], npu["problem"].partition(",")[0])

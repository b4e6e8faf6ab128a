"""Profiles, hints and loads of OpenVINO models on a running agent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device_agent.errors import InvalidRequest
from tests.device_agent.harness import AgentProcess, make_bundle

QUICK = {"warmup_iterations": 2, "min_iterations": 20, "min_seconds": 0, "max_seconds": 30.0}


@pytest.fixture(scope="module")
def product(openvino: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent with a product of matrices on OpenVINO."""
    from tests.openvino_bundle import write_ir_bundle

    folder = tmp_path_factory.mktemp("product")
    with AgentProcess(folder / "state") as agent:
        agent.client.deploy(write_ir_bundle(folder / "product"))
        yield agent


def measured(agent: AgentProcess, name: str = "product", **options: object) -> dict[str, Any]:
    """The result of a benchmark."""
    events = agent.client.events(f"/edge/v1/models/{name}/benchmark", {**QUICK, **options})
    return dict(list(events)[-1]["result"])


def test_a_profile_comes_beside_the_plain_latencies(product: AgentProcess) -> None:
    """Operators with their kernels, and the rest; both add up to the latency of the counted runs."""
    result = measured(product, profile=True)
    profile = result["profile"]
    assert 20 <= profile["runs"]
    assert 20 <= len(result["latencies_ns"])
    (row,) = [row for row in profile["operators"] if row["name"] == "product"]
    assert ("CPU", True) == (row["device"], bool(row["type"] and row["kernel"]))
    attributed = sum(row["ns"] for row in profile["operators"])
    assert profile["latency_ns"] == attributed + profile["unattributed_ns"]
    assert 1000 == profile["resolution_ns"]


def test_throughput_is_measured_where_it_is_asked_for(product: AgentProcess) -> None:
    """Under that hint runs side by side are counted as well; streams alone do not ask for it."""
    assert measured(product, hint="throughput", threads=2)["runs_per_second"] > 0
    streams = measured(product, streams=2, threads=2)
    # loaded otherwise than it is served, so it was compiled and not kept
    assert (None, False, None) == tuple(
        streams[key] for key in ("runs_per_second", "from_cache", "first_load_ns")
    )


def test_first_load_and_load_from_the_cache_are_told(product: AgentProcess) -> None:
    """What preflight compiled is loaded from then on, whatever else was measured meanwhile."""
    result = measured(product)
    assert result["from_cache"]
    assert result["first_load_ns"] > 0
    assert result["profile"] is None


def test_what_cannot_be_measured_is_refused(agent: AgentProcess, tmp_path: Path) -> None:
    """A hint that there is not, and a runtime without counters, hints and streams: said with what to use."""
    agent.client.deploy(make_bundle(tmp_path))
    with pytest.raises(InvalidRequest, match="hint: unknown"):
        measured(agent, "digits", hint="speed")
    with pytest.raises(InvalidRequest, match=r"null: .* does not count .*--runtime openvino"):
        measured(agent, "digits", profile=True)
    with pytest.raises(InvalidRequest, match=r"null: .* neither a hint nor streams"):
        measured(agent, "digits", streams=2)

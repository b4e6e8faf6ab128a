"""`Device`: deploy, infer, benchmark, roll back, over a real agent."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from converters.progress import silent
from device_agent.bundle import Bundle
from device_agent.errors import (
    DeviceError,
    InvalidRequest,
    NothingToRollBack,
    ProtocolError,
    UnknownModel,
)
from device_agent.protocol import BenchmarkRequest, BenchmarkResult, Event
from edge_sdk.devices.addresses import ADDRESSES
from edge_sdk.devices.device import Device, _result
from edge_sdk.devices.selection import open_device

MakeBundle = Callable[..., Bundle]
QUICK = BenchmarkRequest(warmup_iterations=1, min_iterations=20, min_seconds=0.0)


@pytest.fixture
def device() -> Iterator[Device]:
    """An open fake device."""
    with open_device("fake") as opened:
        yield opened


def test_deploy_and_deploy_again(device: Device, make_bundle: MakeBundle) -> None:
    """A first deployment is generation 1, another bundle of the name 2, the same bundle changes nothing."""
    first = device.deploy(make_bundle(width=4))
    assert ("toy", 1, None, False) == (
        first.name,
        first.generation,
        first.previous_generation,
        first.deployed.unchanged,
    )
    assert first.parity.passed
    assert first.sent_bytes > 0
    second = device.deploy(make_bundle(width=5))
    assert (2, 1) == (second.generation, second.previous_generation)
    again = device.deploy(make_bundle(width=5))
    assert (2, True, 0) == (again.generation, again.deployed.unchanged, again.sent_bytes)
    assert [("toy", 2)] == [(status.name, status.generation) for status in device.deployments()]


def test_rollback_brings_the_earlier_generation_back(device: Device, make_bundle: MakeBundle) -> None:
    """After a rollback the first bundle answers again; history tells all of it."""
    bundles = [make_bundle(width=4), make_bundle(width=5)]
    for bundle in bundles:
        device.deploy(bundle)
    back = device.rollback("toy")
    assert bundles[0].manifest_digest == back.deployed.status.manifest_digest
    outcomes = [entry.outcome for entry in device.history("toy")]
    assert 3 == len(outcomes)


def test_nothing_to_roll_back_to(device: Device, make_bundle: MakeBundle) -> None:
    """A first generation cannot be rolled back, and stays."""
    device.deploy(make_bundle())
    with pytest.raises(NothingToRollBack):
        device.rollback("toy")
    assert 1 == device.deployments()[0].generation


def test_infer_gives_what_the_host_computed(device: Device, make_bundle: MakeBundle) -> None:
    """The device's answer to a golden input is the golden output, as an array of its dtype and shape."""
    from device_agent import tensors
    from device_agent.bundle import GOLDEN_INPUTS_TYPE, GOLDEN_OUTPUTS_TYPE

    bundle = make_bundle()
    device.deploy(bundle)
    inputs = tensors.unpack(bundle.read(bundle.manifest.layer(GOLDEN_INPUTS_TYPE)))
    outputs = tensors.unpack(bundle.read(bundle.manifest.layer(GOLDEN_OUTPUTS_TYPE)))
    for sample in range(bundle.config.golden_samples):
        x, y = inputs[f"{sample}/x"], outputs[f"{sample}/y"]
        array = np.frombuffer(x.data, x.dtype).reshape(x.shape)
        answer = device.infer("toy", {"x": array})
        assert ["y"] == list(answer)
        assert (y.dtype, y.shape) == (answer["y"].dtype.name, answer["y"].shape)
        assert y.data == answer["y"].tobytes()


def test_infer_takes_arrays_that_are_not_contiguous(device: Device, make_bundle: MakeBundle) -> None:
    """A view with strides is sent as what it looks like."""
    device.deploy(make_bundle())
    view = np.arange(8, dtype=np.float32).reshape(1, 8)[:, ::2]
    assert not view.flags["C_CONTIGUOUS"]
    same = device.infer("toy", {"x": view.copy()})["y"]
    np.testing.assert_array_equal(same, device.infer("toy", {"x": view})["y"])


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"z": np.zeros((1, 4), np.float32)},
        {"x": np.zeros((1, 5), np.float32)},
        {"x": np.zeros((1, 4), np.int8)},
    ],
)
def test_inputs_that_do_not_fit_are_named(
    device: Device, make_bundle: MakeBundle, inputs: dict[str, np.ndarray]
) -> None:
    """A missing, unknown or misshapen input is refused, and the model goes on answering."""
    device.deploy(make_bundle())
    with pytest.raises(InvalidRequest):
        device.infer("toy", inputs)
    assert device.infer("toy", {"x": np.zeros((1, 4), np.float32)})


def test_dtype_the_wire_does_not_know(device: Device) -> None:
    """An array of a dtype that has no name on the wire is refused on the host."""
    with pytest.raises(InvalidRequest, match="complex64"):
        device.infer("toy", {"x": np.zeros(1, np.complex64)})


def test_benchmark_gives_raw_latencies(device: Device, make_bundle: MakeBundle) -> None:
    """At least so many runs as asked for, each with a latency, and progress on the way."""
    device.deploy(make_bundle())
    result = device.benchmark("toy", QUICK)
    assert len(result.latencies_ns) >= 20
    assert all(latency > 0 for latency in result.latencies_ns)
    assert ("toy", 1, "null", 1) == (result.name, result.generation, result.runtime, result.threads)
    assert result.peak_rss_bytes > 1_000_000


def test_progress_shows_the_states(device: Device, make_bundle: MakeBundle) -> None:
    """A deployment's progress goes from the upload through the states of the activation machine."""
    seen: list[str] = []
    device.deploy(make_bundle(), progress=lambda what, _done, _total: seen.append(what))
    order = list(dict.fromkeys(seen))
    assert "upload" == order[0]
    assert order.index("activate: PREFLIGHT") < order.index("activate: PROBING")


def test_removed_models_do_not_answer(device: Device, make_bundle: MakeBundle) -> None:
    """A removed deployment is unknown; removing it again says so."""
    device.deploy(make_bundle())
    device.remove("toy")
    assert () == device.deployments()
    with pytest.raises(UnknownModel):
        device.benchmark("toy", QUICK)
    with pytest.raises(UnknownModel):
        device.remove("toy")


def test_unopened_device_says_how_to_open_it() -> None:
    """A device used outside its context names the context manager."""
    with pytest.raises(DeviceError, match="context manager"):
        open_device("fake").describe()


@pytest.mark.parametrize("address", ["rpi4.local", "", "LOCAL"])
def test_unknown_addresses_name_the_known_ones(address: str) -> None:
    """An address of another kind is refused with what there is."""
    with pytest.raises(InvalidRequest) as caught:
        open_device(address)
    assert all(known in str(caught.value) for known in ADDRESSES)
    assert "SSH" in str(caught.value)


def test_fake_device_leaves_nothing(make_bundle: MakeBundle) -> None:
    """After a fake device is closed its folder is gone."""
    with open_device("fake") as device:
        folder = Path(device.describe().state_dir)
        device.deploy(make_bundle())
        assert folder.is_dir()
    assert not folder.exists()


def test_result_of_another_form_is_refused() -> None:
    """A result event without the result's fields is a protocol error."""
    with pytest.raises(ProtocolError):
        _result(iter([Event("result", result={"name": 1})]), BenchmarkResult, silent, "measure")

"""`Device.compare`, `query`, `runtime_devices`, over a real agent; with OpenVINO where that is installed."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from device_agent.bundle import (
    GOLDEN_INPUTS_TYPE,
    GOLDEN_OUTPUTS_TYPE,
    MODEL_PART_TYPE,
    MODEL_TYPE,
    Bundle,
    BundleConfig,
    Execution,
    TensorSpec,
    write_bundle,
)
from device_agent.errors import FileMissing, InvalidRequest, RuntimeMissing
from device_agent.protocol import BenchmarkRequest
from device_agent.tensors import Tensor, pack
from edge_sdk.devices.device import Device
from edge_sdk.devices.selection import open_device
from tests.converters.readers import ir

MakeBundle = Callable[..., Bundle]
QUICK = BenchmarkRequest(warmup_iterations=1, min_iterations=5, min_seconds=0.0)

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed: the extra `openvino`"
)


@pytest.fixture
def device() -> Iterator[Device]:
    """An open fake device."""
    with open_device("fake") as opened:
        yield opened


def ir_bundle(folder: Path, execution: Execution) -> Bundle:
    """A bundle called toy of the product's IR, two files."""
    path = ir.write(folder / "product.xml")
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    tensors = [Tensor("float32", array.shape, array.tobytes()) for array in (x, x @ ir.WEIGHTS)]
    config = BundleConfig(
        name="toy",
        target="local",
        architecture="host",
        runtime="openvino",
        runtime_version="2024.0",
        model="product.xml",
        inputs=(TensorSpec("image", "float32", (-1, 4)),),
        outputs=(TensorSpec("scores", "float32", (-1, 2)),),
        tolerance={"scores": 1e-3},
        source_sha256="0" * 64,
        precision="float32",
        golden_samples=1,
        files=("product.bin",),
        execution=execution,
    )
    layers = {
        "product.xml": (MODEL_TYPE, path.read_bytes()),
        "product.bin": (MODEL_PART_TYPE, path.with_suffix(".bin").read_bytes()),
        "golden_inputs.safetensors": (GOLDEN_INPUTS_TYPE, pack({"0/image": tensors[0]})),
        "golden_outputs.safetensors": (GOLDEN_OUTPUTS_TYPE, pack({"0/scores": tensors[1]})),
    }
    return write_bundle(folder / "bundle", config, layers)


def test_compare(device: Device, make_bundle: MakeBundle) -> None:
    """Bundles are pushed and measured in turns, none is activated; what was sent is not sent again."""
    bundles = [make_bundle(width=width) for width in (4, 5)]
    seen: list[str] = []
    found = device.compare(bundles, QUICK, rounds=3, progress=lambda what, _done, _total: seen.append(what))
    assert ["upload", "compare"] == list(dict.fromkeys(seen))
    assert [bundle.manifest_digest for bundle in bundles] == [row.manifest_digest for row in found.candidates]
    assert [[5, 5, 5]] * 2 == [[len(times) for times in row.latencies_ns] for row in found.candidates]
    assert () == device.deployments()
    deployed = device.deploy(bundles[1])
    assert (1, 0) == (deployed.generation, deployed.sent_bytes)


def test_bundles_of_several_names(device: Device, make_bundle: MakeBundle) -> None:
    """Refused before anything is sent, and so is nothing at all."""
    for bundles in ([], [make_bundle(), make_bundle(name="other")]):
        with pytest.raises(InvalidRequest, match="one name"):
            device.compare(bundles)


def test_a_bundle_that_is_gone(device: Device, make_bundle: MakeBundle) -> None:
    """A blob that is missing on the host's disk is named."""
    bundle = make_bundle()
    bundle.blob_path(bundle.manifest.layers[0].digest).unlink()
    with pytest.raises(FileMissing):
        device.compare([bundle, make_bundle(width=5)])


def test_a_runtime_that_cannot_be_asked(device: Device, make_bundle: MakeBundle) -> None:
    """The null runtime has no processors; one that nobody knows is missing."""
    with pytest.raises(InvalidRequest, match="processors"):
        device.query(make_bundle(), ["CPU"])
    with pytest.raises(InvalidRequest, match="processors"):
        device.runtime_devices("null")
    with pytest.raises(RuntimeMissing):
        device.runtime_devices("tensorrt")


@needs_openvino
def test_openvino_is_compared_and_asked(device: Device, make_bundle: MakeBundle, tmp_path: Path) -> None:
    """A model of two files: measured beside another runtime's with its placement, and asked about."""
    bundle = ir_bundle(tmp_path, Execution(precision="f32"))
    absent = ir_bundle(tmp_path / "absent", Execution(device="NPU"))
    found = device.compare([bundle, make_bundle(), absent], QUICK, rounds=2)
    ours, null, failed = found.candidates
    assert ("openvino", "null", None, None) == (ours.runtime, null.runtime, ours.error, null.error)
    assert ours.parity is not None
    assert ours.parity.passed
    assert ours.placement is not None
    assert {"CPU"} == {operator.device for operator in ours.placement.operators}
    assert failed.error is not None
    assert "NPU" in failed.error["error"]
    asked = device.query(bundle, ["CPU", "NPU"])
    assert "product" in asked.operators
    assert ["CPU", "NPU"] == [row.device for row in asked.devices]
    assert "product" in asked.devices[0].operators
    assert asked.devices[1].problem
    assert "CPU" in [row.name for row in device.runtime_devices("openvino") if not row.problem]

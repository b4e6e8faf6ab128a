"""A bundle of the small IR of `tests.converters.readers.ir`, with outputs that NumPy computed."""

import hashlib
from pathlib import Path

import numpy as np

from device_agent.bundle import (
    GOLDEN_INPUTS_TYPE,
    GOLDEN_OUTPUTS_TYPE,
    MODEL_PART_TYPE,
    MODEL_TYPE,
    PLAN_TYPE,
    Bundle,
    BundleConfig,
    Execution,
    TensorSpec,
    write_bundle,
)
from device_agent.tensors import Tensor, pack
from tests.converters.readers import ir


def write_ir_bundle(folder: Path, *, target: str = "local", name: str = "product") -> Bundle:
    """Write it to `folder`, for a board; OpenVINO is not imported."""
    folder.mkdir(parents=True)
    xml = ir.write(folder / "product.xml")
    images = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    scores = images @ ir.WEIGHTS
    config = BundleConfig(
        name=name,
        target=target,
        architecture="host",
        runtime="openvino",
        runtime_version="2025.4",
        model=xml.name,
        inputs=(TensorSpec("image", "float32", (-1, 4)),),
        outputs=(TensorSpec("scores", "float32", (-1, 2)),),
        tolerance={"scores": 1e-5},
        source_sha256=hashlib.sha256(xml.read_bytes()).hexdigest(),
        precision="float32",
        golden_samples=1,
        files=("product.bin",),
        execution=Execution(precision="f32"),
    )
    layers = {
        xml.name: (MODEL_TYPE, xml.read_bytes()),
        "product.bin": (MODEL_PART_TYPE, xml.with_suffix(".bin").read_bytes()),
        "golden_inputs.safetensors": (GOLDEN_INPUTS_TYPE, pack({"0/image": _tensor(images)})),
        "golden_outputs.safetensors": (GOLDEN_OUTPUTS_TYPE, pack({"0/scores": _tensor(scores)})),
        "plan.json": (PLAN_TYPE, b"{}"),
    }
    return write_bundle(folder / "bundle", config, layers)


def _tensor(array: np.ndarray) -> Tensor:
    return Tensor(array.dtype.name, array.shape, array.tobytes())

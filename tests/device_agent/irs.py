"""Small IRs made with openvino, which the tests that use them need."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.bundle import (
    GOLDEN_INPUTS_TYPE,
    GOLDEN_OUTPUTS_TYPE,
    MODEL_PART_TYPE,
    MODEL_TYPE,
    Bundle,
    BundleConfig,
    Execution,
    write_bundle,
)
from device_agent.runtimes.base import Options
from device_agent.runtimes.openvino import OpenVINO
from device_agent.runtimes.openvino_package import package
from device_agent.tensors import DTYPES, Tensor, pack

if TYPE_CHECKING:  # where the agent is tested alone there is none
    pass

F32 = Execution(precision="f32")


def convolution(folder: Path) -> Path:
    """`net.xml` with `net.bin`: pixels float32[1, 3, 8, 8] -> scores float32[1, 4], its weights in fp16."""
    import numpy as np

    openvino = package()
    from openvino import opset13 as ops  # only of the package that `package()` has imported

    random = np.random.default_rng(0)
    pixels = ops.parameter([1, 3, 8, 8], openvino.Type.f32, name="pixels")
    weights = ops.constant(random.standard_normal((4, 3, 3, 3)).astype(np.float32), name="weights")
    one = [1, 1]
    found = ops.convolution(pixels, weights, one, [0, 0], [0, 0], one, name="conv")
    found = ops.reduce_mean(ops.relu(found, name="relu"), ops.constant([2, 3]), name="mean")
    pixels.output(0).get_tensor().set_names({"pixels"})
    found.output(0).get_tensor().set_names({"scores"})
    openvino.save_model(openvino.Model([found], [pixels], "net"), folder / "net.xml")
    return folder / "net.xml"


def doubled(folder: Path, dtype: str) -> Path:
    """`<dtype>.xml`: x dtype[?, 3] -> y, x twice below each other (of bool: turned over)."""
    import numpy as np

    openvino = package()
    from openvino import opset13 as ops

    x = ops.parameter([-1, 3], np.dtype(dtype), name="x")
    found = ops.logical_not(x) if dtype == "bool" else x
    y = ops.concat([found, found], 0, name="y")
    x.output(0).get_tensor().set_names({"x"})
    y.output(0).get_tensor().set_names({"y"})
    openvino.save_model(openvino.Model([y], [x], dtype), folder / f"{dtype}.xml", compress_to_fp16=False)
    return folder / f"{dtype}.xml"


def options(path: Path, execution: Execution | None = F32, **others: Any) -> Options:
    """Options with the weights beside an IR."""
    weights = path.with_suffix(".bin")
    return Options(files={weights.name: weights}, execution=execution, **others)


def ones(shape: tuple[int, ...], dtype: str = "float32") -> Tensor:
    """A tensor of ones, an open size being 1."""
    import numpy as np

    array = np.ones([1 if size < 0 else size for size in shape], dtype)
    return Tensor(dtype, array.shape, array.tobytes())


def array_of(tensor: Tensor) -> Any:
    """A tensor as an array."""
    import numpy as np

    return np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)


def bundle(folder: Path, path: Path, *, execution: Execution = F32, name: str = "net") -> Bundle:
    """A bundle of an IR, with two golden samples computed on the CPU."""
    session = OpenVINO().load(path, options(path))
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    for index in range(2):
        feed = {spec.name: _sample(spec.shape, spec.dtype, index) for spec in session.inputs}
        session.set_inputs(feed)
        session.invoke()
        inputs |= {f"{index}/{key}": tensor for key, tensor in feed.items()}
        outputs |= {f"{index}/{key}": tensor for key, tensor in session.get_outputs().items()}
    weights = path.with_suffix(".bin")
    config = BundleConfig(
        name=name,
        target="local",
        architecture="host",
        runtime="openvino",
        runtime_version="2025.0",
        model=path.name,
        inputs=session.inputs,
        outputs=session.outputs,
        tolerance={spec.name: 1e-5 for spec in session.outputs},
        source_sha256="0" * 64,
        precision="float32",
        golden_samples=2,
        files=(weights.name,),
        execution=execution,
    )
    layers: Mapping[str, tuple[str, bytes]] = {
        path.name: (MODEL_TYPE, path.read_bytes()),
        weights.name: (MODEL_PART_TYPE, weights.read_bytes()),
        "golden_inputs.safetensors": (GOLDEN_INPUTS_TYPE, pack(inputs)),
        "golden_outputs.safetensors": (GOLDEN_OUTPUTS_TYPE, pack(outputs)),
        "plan.json": ("application/vnd.edge.plan.v1+json", json.dumps({}).encode()),
    }
    return write_bundle(folder / name, config, layers)


def _sample(shape: tuple[int, ...], dtype: str, seed: int) -> Tensor:
    import numpy as np

    count = math.prod(shape)
    array = np.random.default_rng(seed).random(count).astype(dtype).reshape(shape)
    return Tensor(dtype, shape, array.tobytes()[: count * DTYPES[dtype][2]])

"""How an artifact is to be run on a device, and the room that half precision is given."""

import math

import numpy as np
import pytest
from attrs import evolve

from converters import registry
from converters.artifact import Artifact, opened
from converters.convert import generated
from converters.partition.types import Recipe
from converters.quantize.accuracy.fidelity import Fidelity, OutputFidelity, tensor_of
from converters.rounding import to_be_run
from converters.shaping import Shaping
from device_agent.bundle import Execution, Quantization, TensorSpec

SPECS = (
    TensorSpec("scores", "float32", (1, 4)),
    TensorSpec("steps", "int8", (1, 4), None, Quantization((0.5,), (0,))),
    TensorSpec("index", "int64", (1,)),
)
HOST = Execution(precision="f32")
ARTIFACT = Artifact(
    title="net.xml", data=b"", runtime="openvino", runtime_version="2025.4", precision="float32", inputs=(),
    outputs=SPECS, operators=("Add",) * 16, float_operators=("Add",) * 16,
    tolerance={"scores": 1e-3, "steps": 4.0, "index": 0.0}, rewrites={}, execution=HOST,
)  # fmt: skip
BASELINE = Fidelity(
    "onnxruntime", "x", 8, tuple(OutputFidelity(spec.name, None, None, 0.0, 10.0) for spec in SPECS)
)


@pytest.mark.parametrize(("precision", "unit"), [("f16", 2**-11), ("bf16", 2**-8)])
def test_half_precision_is_given_room(precision: str, unit: float) -> None:
    """The tolerances grow with the unit roundoff, the range and the root of the depth; indices stay exact."""
    made = to_be_run(ARTIFACT, Execution("GPU", precision=precision), BASELINE)
    more = 4 * unit * math.sqrt(16) * 10.0
    assert pytest.approx({"scores": 1e-3 + more, "steps": 4.0 + more / 0.5, "index": 0.0}) == made.tolerance
    assert ("GPU", precision) == (made.execution.device, made.execution.precision)


def test_float32_is_given_none() -> None:
    """On another device in float32 the tolerances stay; as on the host, or without a choice, so does all."""
    made = to_be_run(ARTIFACT, Execution("GPU", precision="f32"), BASELINE)
    assert (ARTIFACT.tolerance, "GPU") == (made.tolerance, made.execution.device)
    assert ARTIFACT is to_be_run(ARTIFACT, Execution(precision="f32"), BASELINE)
    assert ARTIFACT is to_be_run(ARTIFACT, None, BASELINE)


def test_bfloat16_is_within_it(openvino: None, request: pytest.FixtureRequest) -> None:
    """A real network in bfloat16 stays within the room, where float32's tolerance would be too little."""
    path = request.config.rootpath / "examples/digits/digits.onnx"
    model = registry.reader("onnx").read(path, Shaping())
    recipe = Recipe("float32", "float")
    host = registry.backend("openvino").compile(model, recipe, None, lambda *_: None)
    span = Fidelity("", "", 8, (OutputFidelity("probabilities", None, None, 0.0, 1.0),))
    device = to_be_run(host, Execution(precision="bf16"), span)
    found: dict[str, np.ndarray] = {}
    for artifact in (host, device):
        session, precision = opened(artifact), artifact.execution.precision
        answers = []
        for sample in generated(model).samples():
            session.set_inputs({spec.name: tensor_of(sample[spec.name], spec) for spec in artifact.inputs})
            session.invoke()
            answers.append(np.frombuffer(session.get_outputs()["probabilities"].data, np.float32))
        found[precision] = np.stack(answers)
    off = float(np.abs(found["f32"] - found["bf16"]).max())
    assert off <= device.tolerance["probabilities"]
    # a CPU without bfloat16 computes in float32 all the same
    assert off == 0 or off > host.tolerance["probabilities"]
    assert evolve(device, tolerance=host.tolerance, execution=host.execution) == host

"""A model in OpenVINO's hands: its ends are the user's, and its process ends with it."""

import gc
import weakref

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from converters.artifact import Artifact
from converters.artifact import opened as loaded
from converters.backends.openvino import EXECUTION
from converters.model import Model
from converters.openvino.compiled import artifact_of
from converters.openvino.opened import OpenModel, forget, open_model, shared
from converters.openvino.verdicts import accepted
from converters.progress import silent
from converters.readers import onnx
from converters.shaping import Shaping
from device_agent.bundle import TensorSpec
from device_agent.errors import MissingDependency
from device_agent.tensors import Tensor
from tests.converters import onnx_files
from tests.converters.onnx_files import weights

node = helper.make_node


def ir_of(model: Model, found: OpenModel) -> Artifact:
    """The opened model as an artifact."""
    files = found.save(fp16=False)
    return artifact_of(
        files, model, precision="float32", execution=EXECUTION, operators=(), float_operators=()
    )


def run(model: Model, found: OpenModel, *inputs: np.ndarray) -> dict[str, np.ndarray]:
    """What the IR gives of the inputs, in the runtime that runs it on a device."""
    artifact = ir_of(model, found)
    session = loaded(artifact)
    assert [spec.name for spec in artifact.inputs] == [spec.name for spec in session.inputs]
    assert [spec.dtype for spec in artifact.inputs] == [spec.dtype for spec in session.inputs]
    names = [spec.name for spec in artifact.inputs]
    session.set_inputs(
        {n: Tensor(x.dtype.name, x.shape, x.tobytes()) for n, x in zip(names, inputs, strict=True)}
    )
    session.invoke()
    made = session.get_outputs()
    assert [(spec.name, spec.dtype) for spec in artifact.outputs] == [(n, t.dtype) for n, t in made.items()]
    return {name: np.frombuffer(t.data, t.dtype).reshape(t.shape) for name, t in made.items()}


def test_ends_of_every_kind(tmp_path):
    """Names, order and dtypes are the model's: also of unused inputs, and of outputs that share a tensor."""
    nodes = [
        node("Relu", ["x"], ["r"]),
        node("Identity", ["r"], ["b"]),
        node("Identity", ["r"], ["a"]),
        node("Identity", ["x"], ["c"]),
        node("Cast", ["r"], ["i"], to=TensorProto.INT64),
    ]
    path = onnx_files.save(
        tmp_path / "net.onnx",
        nodes,
        {"x": [1, 4], "unused": [2]},
        {"b": 2, "a": 2, "c": 2, "i": 2},
        integers=("unused", "i"),
    )
    model = onnx.reader.read(path, Shaping())
    found = open_model(model, silent)
    x = np.array([[-1, 0, 1, 2.5]], np.float32)
    made = run(model, found, x, np.zeros(2, np.int64))
    found.close()
    assert {"b": [0, 0, 1, 2.5], "a": [0, 0, 1, 2.5], "c": x[0].tolist(), "i": [0, 0, 1, 2]} == {
        name: y[0].tolist() for name, y in made.items()
    }


def branching() -> NodeProto:
    """If `up` then y = x + 3 else y = x * 3, in branches."""

    def body(kind: str) -> object:
        three = helper.make_tensor("three", TensorProto.FLOAT, [], [3.0])
        end = helper.make_tensor_value_info(f"{kind}_y", TensorProto.FLOAT, None)
        return helper.make_graph([node(kind, ["x", "three"], [f"{kind}_y"])], kind, [], [end], [three])

    return node("If", ["is_up"], ["y"], then_branch=body("Add"), else_branch=body("Mul"), name="choice")


def test_a_bound_input_decides_a_branch(tmp_path):
    """The value becomes a constant, and the branch it takes stands in the If's place."""
    nodes = [node("Cast", ["up"], ["is_up"], to=TensorProto.BOOL), branching()]
    path = onnx_files.save(tmp_path / "net.onnx", nodes, {"x": [1, 2], "up": []}, {"y": 2}, integers=("up",))
    for up, kind, expected in ((1, "Add", [3.5, 5.0]), (0, "Multiply", [1.5, 6.0])):
        model = onnx.reader.read(path, Shaping(bind={"up": np.int64(up)}))
        with_if = open_model(model, silent)
        assert [kind] == [operator.type for operator in with_if.operators]
        assert [(), (kind,)] == [verdict.becomes for verdict in accepted(model, with_if)]
        assert expected == run(model, with_if, np.array([[0.5, 2]], np.float32))["y"][0].tolist()
        with_if.close()


def test_open_axes_and_layout(tmp_path):
    """An axis asked to stay open is open in the artifact; images lie as asked."""
    path = onnx_files.convolutions(tmp_path / "net.onnx")
    shaping = Shaping(input_shapes={"x": (1, 3, 8, 8)}, dynamic={"x": (0,)}, layout="nhwc")
    model = onnx.reader.read(path, shaping)
    found = open_model(model, silent)
    artifact = ir_of(model, found)
    assert ((-1, 8, 8, 3),) == tuple(spec.shape for spec in artifact.inputs)
    assert ((-1, 2, 2, 8),) == tuple(spec.shape for spec in artifact.outputs)
    x = np.random.default_rng(0).random((3, 8, 8, 3), np.float32)
    _, reference = onnx.reader.reference(model)
    np.testing.assert_allclose(reference({"x": x})["y"], run(model, found, x)["y"], atol=1e-5)
    convolutions = [operator for operator in found.operators if operator.macs]
    found.close()
    assert ["Convolution", "GroupConvolution"] == [operator.type for operator in convolutions]
    assert [8 * 4 * 4 * 27, 8 * 2 * 2 * 9] == [
        operator.macs for operator in convolutions
    ]  # the open size is 1


def test_the_second_road(tmp_path):
    """Where OpenVINO refuses the model's own form, the TFLite graph made of it is read, and told of."""
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    nodes = [node("Pad", ["x", "pads"], ["p"], mode="wrap"), node("Conv", ["p", "w"], ["y"])]
    path = onnx_files.save(
        tmp_path / "net.onnx", nodes, {"x": [1, 2, 4, 4]}, {"y": 4}, {"pads": pads, "w": weights(3, 2, 3, 3)},
        opset=19,
    )  # fmt: skip
    model = onnx.reader.read(path, Shaping())
    found = open_model(model, silent)
    x = np.random.default_rng(0).random((1, 2, 4, 4), np.float32)
    _, reference = onnx.reader.reference(model)
    np.testing.assert_allclose(reference({"x": x})["y"], run(model, found, x)["y"], atol=1e-5)
    found.close()
    assert ("the TFLite graph made of it", True) == (found.road.name, found.road.lowered)
    ((road, message),) = found.refused
    assert "its ONNX file" == road.name
    assert "wrap" in message


def test_the_same_bytes(tmp_path):
    """Two processes write the same IR, and one writes it twice; fp16 halves the weights."""
    model = onnx.reader.read(
        onnx_files.convolutions(tmp_path / "net.onnx"), Shaping(input_shapes={"x": (1, 3, 8, 8)})
    )
    first, second = open_model(model, silent), open_model(model, silent)
    files = first.save(fp16=False)
    assert files == first.save(fp16=False) == second.save(fp16=False)
    assert len(first.save(fp16=True).weights) < 0.6 * len(files.weights)
    first.close()
    second.close()


def test_one_process_for_planning_and_converting(tmp_path):
    """What was opened last is kept, and ends when it is not wanted any more, or has died."""
    files = [onnx_files.convolutions(tmp_path / f"{stride}.onnx", stride=stride) for stride in (1, 2)]
    first, second = (onnx.reader.read(path, Shaping(input_shapes={"x": (1, 3, 8, 8)})) for path in files)
    kept = shared(first, silent)
    assert kept is shared(first, silent)
    process = weakref.ref(kept.process)
    del kept
    shared(second, silent)
    gc.collect()
    assert process() is None
    other = shared(second, silent)
    other.close()
    again = shared(second, silent)
    assert again is not other
    forget()
    assert not again.process.running


def test_openvino_is_missing(tmp_path, monkeypatch):
    """The extra that brings it is named."""
    model = onnx.reader.read(
        onnx_files.convolutions(tmp_path / "net.onnx"), Shaping(input_shapes={"x": (1, 3, 8, 8)})
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingDependency, match=r"openvino is missing.*edge-deployment-sdk\[openvino\]"):
        open_model(model, silent)


def test_specs_are_the_models(tmp_path):
    """The artifact's ends are the model's own specs where nothing stays open."""
    path = onnx_files.save(tmp_path / "net.onnx", [node("Relu", ["x"], ["y"])], {"x": ["n", 4]}, {"y": 2})
    model = onnx.reader.read(path, Shaping(batch=2))
    found = open_model(model, silent)
    artifact = ir_of(model, found)
    found.close()
    assert ((TensorSpec("x", "float32", (2, 4)),), {"y": 0.001}) == (artifact.inputs, artifact.tolerance)
    assert ("net_float32.xml", ["net_float32.bin"]) == (artifact.title, list(artifact.files))

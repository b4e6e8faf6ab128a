"""Reading ONNX files: what they say, and what is wrong with them."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.model import Operator
from converters.readers.onnx import reader
from converters.shaping import Shaping
from device_agent.bundle import TensorSpec
from device_agent.errors import EdgeError, FileMissing, InvalidModel


def _proto(shape: list, *, weights: np.ndarray | None = None, listed: bool = False) -> onnx.ModelProto:
    """x -> Conv -> Relu -> y; `listed` lists the weights among the inputs, as old exporters do."""
    weights = np.ones((4, 3, 3, 3), np.float32) if weights is None else weights
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    if listed:
        inputs.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, weights.shape))
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"], name="last")],
        "test",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, None, None])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _save(tmp_path: Path, proto: onnx.ModelProto) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("batch", [1, 5])
def test_read(tmp_path: Path, listed: bool, batch: int):
    """Names, shapes, operators and parameters; the open batch dimension is what the caller says."""
    path = _save(tmp_path, _proto(["batch", 3, 8, 8], listed=listed))
    model = reader.read(path, Shaping(batch))
    assert ("onnx", "net") == (model.format, model.name)
    assert (TensorSpec("x", "float32", (batch, 3, 8, 8), "NCHW"),) == model.inputs
    assert (TensorSpec("y", "float32", (batch, 4, 6, 6)),) == model.outputs
    assert (Operator(0, "Conv", "Conv_0"), Operator(1, "Relu", "last")) == model.operators
    assert 108 == model.parameters
    assert path.stat().st_size == model.size_bytes
    assert hashlib.sha256(path.read_bytes()).hexdigest() == model.sha256


def test_fixed_batch(tmp_path: Path):
    """A batch that the file fixes stays."""
    model = reader.read(_save(tmp_path, _proto([2, 3, 8, 8])), Shaping(5))
    assert (2, 3, 8, 8) == model.inputs[0].shape


@pytest.mark.parametrize(("size", "got"), [("height", "'height'"), (None, "an unknown size")])
def test_open_dimension(tmp_path: Path, size: str | None, got: str):
    """Any other open dimension is an error that names input, axis and symbol."""
    with pytest.raises(InvalidModel) as caught:
        reader.read(_save(tmp_path, _proto(["n", 3, size, 8])), Shaping())
    assert "input 'x', axis 2" in str(caught.value)
    assert got == caught.value.got


def test_unknown_rank(tmp_path: Path):
    """An input without a shape is an error."""
    proto = _proto([1, 3, 8, 8])
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(InvalidModel):
        reader.read(_save(tmp_path, proto), Shaping())


def test_layout_of_a_transposed_input(tmp_path: Path):
    """An input that is transposed to a convolution is NHWC; anything else is left open."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=(0, 3, 1, 2)),
        helper.make_node("MaxPool", ["t"], ["y"], kernel_shape=(2, 2)),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 4, 3])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    outputs[0].type.tensor_type.shape.SetInParent()
    graph = helper.make_graph(nodes, "test", inputs, outputs)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert "NHWC" == reader.read(_save(tmp_path, proto), Shaping()).inputs[0].layout


def test_missing_file(tmp_path: Path):
    """No such file is its own error."""
    with pytest.raises(FileMissing, match="no such model file"):
        reader.read(tmp_path / "absent.onnx", Shaping())


def test_directory(tmp_path: Path):
    """A folder is no model."""
    with pytest.raises(InvalidModel, match="cannot be read"):
        reader.read(tmp_path, Shaping())


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n" + bytes(100), b"hello world", b"\x08\x08"])
def test_another_format(tmp_path: Path, data: bytes):
    """Files of other formats are refused as such."""
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(InvalidModel, match="not an ONNX file"):
        reader.read(path, Shaping())


def test_truncated(tmp_path: Path):
    """A truncated file is refused, wherever it ends."""
    data = _proto([1, 3, 8, 8]).SerializeToString()
    path = tmp_path / "net.onnx"
    for length in range(0, len(data) - 1, 7):
        path.write_bytes(data[:length])
        with pytest.raises(InvalidModel):
            reader.read(path, Shaping())


def test_inputs_that_do_not_fit(tmp_path: Path):
    """An operator whose inputs do not fit is named."""
    proto = _proto([1, 3, 8, 8])
    proto.graph.node[1].CopyFrom(helper.make_node("MatMul", ["c", "w"], ["y"], name="product"))
    with pytest.raises(InvalidModel, match="product: the inputs of a MatMul"):
        reader.read(_save(tmp_path, proto), Shaping())


def test_unknown_operator(tmp_path: Path):
    """An operator that ONNX has not is the checker's to refuse."""
    proto = _proto([1, 3, 8, 8])
    proto.graph.node[1].op_type = "Frobnicate"
    with pytest.raises(InvalidModel, match="Frobnicate"):
        reader.read(_save(tmp_path, proto), Shaping())


def test_external_data(tmp_path: Path):
    """Weights in a file beside it are read; if it is missing, that is an error."""
    path = tmp_path / "net.onnx"
    onnx.save(_proto([1, 3, 8, 8]), path, save_as_external_data=True, size_threshold=0, location="w.bin")
    model = reader.read(path, Shaping())
    assert reader.lower(model)[0] is not None
    (tmp_path / "w.bin").unlink()
    with pytest.raises(InvalidModel, match="external data"):
        reader.read(path, Shaping())


def test_external_data_outside(tmp_path: Path):
    """A file that points outside its folder is refused."""
    path = tmp_path / "net.onnx"
    onnx.save(_proto([1, 3, 8, 8]), path, save_as_external_data=True, size_threshold=0, location="w.bin")
    proto = onnx.load(path, load_external_data=False)
    proto.graph.initializer[0].external_data[0].value = "../w.bin"
    with pytest.raises(InvalidModel, match="external data"):
        reader.read(_save(tmp_path, proto), Shaping())


def test_string_input(tmp_path: Path):
    """A dtype that no runtime here can carry is an error."""
    proto = _proto([1, 3, 8, 8])
    proto.graph.input.append(helper.make_tensor_value_info("s", TensorProto.STRING, [1]))
    with pytest.raises(InvalidModel, match="dtype"):
        reader.read(_save(tmp_path, proto), Shaping())


def test_functions_are_inlined(tmp_path: Path):
    """A function of the model's own is read as the operators it is made of."""
    proto = _proto([1, 3, 8, 8])
    body = [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Neg", ["b"], ["c"])]
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("mine", "Negated", ["a"], ["c"], body, opsets))
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "Negated", "mine"
    model = reader.read(_save(tmp_path, proto), Shaping())
    assert ["Conv", "Relu", "Neg"] == [operator.type for operator in model.operators]


def test_reference(tmp_path: Path):
    """The reference is ONNX Runtime on the same network, named with its version."""
    model = reader.read(_save(tmp_path, _proto(["n", 3, 8, 8])), Shaping())
    name, run = reader.reference(model)
    assert name.startswith("onnxruntime ")
    x = np.ones((1, 3, 8, 8), np.float32)
    np.testing.assert_array_equal(np.full((1, 4, 6, 6), 27, np.float32), run({"x": x})["y"])
    with pytest.raises(InvalidModel, match="cannot run"):
        run({"x": x[:, :2]})


def test_mutated(tmp_path: Path):
    """Whatever a file holds, reading and lowering it either works or says what is wrong."""
    data = _proto(["n", 3, 8, 8]).SerializeToString()
    generator = np.random.default_rng(17)
    path = tmp_path / "net.onnx"
    refused = 0
    for _ in range(400):
        broken = bytearray(data)
        for _ in range(generator.integers(1, 4)):
            broken[generator.integers(len(broken))] = generator.integers(256)
        path.write_bytes(bytes(broken))
        try:
            reader.lower(reader.read(path, Shaping()))
        except EdgeError:
            refused += 1
    assert refused > 50

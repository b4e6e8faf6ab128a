"""Large weights stay in their file, and the message says where."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.lowering.weights import array_of, is_external
from converters.readers.onnx import reader
from converters.readers.onnx_wire import LEAST, slim
from converters.shaping import Shaping


def _proto(dtype: str = "float32") -> onnx.ModelProto:
    """x -> Add(large) -> Add(small) -> y."""
    large = (np.arange(LEAST) % 100).reshape(-1, 4).astype(dtype)
    nodes = [helper.make_node("Add", ["x", "large"], ["a"]), helper.make_node("Add", ["a", "small"], ["y"])]
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    ends = [helper.make_tensor_value_info(name, element, large.shape) for name in ("x", "y")]
    small = np.ones(4, dtype)
    constants = [numpy_helper.from_array(array, name) for name, array in (("large", large), ("small", small))]
    graph = helper.make_graph(nodes, "test", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_slim(tmp_path: Path, dtype: str):
    """Only the large tensor's bytes are left out; every value is the same, read from the file."""
    path = tmp_path / "net.onnx"
    onnx.save(_proto(dtype), path)
    data = path.read_bytes()
    made = slim(data, path)
    assert len(made) < 2000 < len(data)
    slimmed, whole = onnx.load_model_from_string(made), onnx.load_model_from_string(data)
    assert [True, False] == [is_external(tensor) for tensor in slimmed.graph.initializer]
    for tensor, original in zip(slimmed.graph.initializer, whole.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(original), array_of(tensor))
    assert whole.graph.node == slimmed.graph.node


def test_what_is_no_message_stays(tmp_path: Path):
    """Bytes that are no message, or a truncated one, are given back for the parser to refuse."""
    path = tmp_path / "net.onnx"
    onnx.save(_proto(), path)
    data = path.read_bytes()
    for broken in (data[:-1], b"\x3f" + data, b"\xff" * 40):
        assert broken == slim(broken, path)


def test_the_source_runs_with_weights_in_its_file(tmp_path: Path):
    """ONNX Runtime gets the values from the file; so does the graph."""
    path = tmp_path / "net.onnx"
    onnx.save(_proto(), path)
    model = reader.read(path, Shaping())
    assert is_external(model.payload.graph.initializer[0])
    assert LEAST + 4 == model.parameters
    _, run = reader.reference(model)
    x = np.zeros((LEAST // 4, 4), np.float32)
    np.testing.assert_array_equal((np.arange(LEAST) % 100).reshape(-1, 4) + 1, run({"x": x})["y"])
    graph, _ = reader.lower(model)
    assert any(tensor.data is not None and tensor.data.size == LEAST for tensor in graph.tensors.values())


def test_negative_sizes_are_open(tmp_path: Path):
    """A size of -7 means an open dimension (ONNX's shape inference would end the process over it)."""
    proto = _proto()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -7
    path = tmp_path / "net.onnx"
    onnx.save(proto, path)
    assert (1, 4) == reader.read(path, Shaping()).inputs[0].shape
    assert TensorProto.FLOAT == proto.graph.input[0].type.tensor_type.elem_type

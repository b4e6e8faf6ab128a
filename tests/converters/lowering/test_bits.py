"""Bit operations against the arithmetic of NumPy (ONNX Runtime lacks some of their dtypes)."""

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import helper

from converters.graph.write import write
from converters.lowering.driver import lower

LEFT = np.array([-128, -1, 0, 5, 127, 77])
RIGHT = np.array([3, -77, 127, 6, 1, 0])


def _run(operator, arrays, opset=18, **attributes):
    ends = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items()
    ]
    node = helper.make_node(operator, list(arrays), ["y"], **attributes)
    out = helper.make_tensor_value_info("y", ends[0].type.tensor_type.elem_type, None)
    graph = helper.make_graph([node], "bits", ends, [out])
    made, verdicts = lower(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))
    if made is None:
        return verdicts[0]
    return Interpreter(model_content=write(made)).get_signature_runner()(**arrays)["y"]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
@pytest.mark.parametrize(
    ("operator", "function"),
    [("BitwiseAnd", np.bitwise_and), ("BitwiseOr", np.bitwise_or), ("BitwiseXor", np.bitwise_xor)],
)
def test_bitwise(operator, function, dtype):
    """Every bit of both operands, the sign's too."""
    left, right = LEFT.astype(dtype), RIGHT.astype(dtype)
    actual = _run(operator, {"a": left, "b": right})
    assert function(left, right).tolist() == actual.tolist()
    assert dtype == actual.dtype.name


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_bitwise_not(dtype):
    """The complement."""
    values = LEFT.astype(dtype)
    assert np.bitwise_not(values).tolist() == _run("BitwiseNot", {"a": values}).tolist()


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_shift(direction):
    """By amounts that the model computes."""
    values, amounts = np.array([1, 255, 96, 3], np.uint8), np.array([7, 1, 2, 0], np.uint8)
    function = np.left_shift if direction == "LEFT" else np.right_shift
    actual = _run("BitShift", {"a": values, "b": amounts}, direction=direction)
    assert function(values, amounts).tolist() == actual.tolist()


def test_right_shift_of_int64_is_refused():
    """RIGHT_SHIFT has 32 bits at most."""
    arrays = {"a": np.array([4], np.int64), "b": np.array([1], np.int64)}
    if onnx.defs.onnx_opset_version() < 27:
        pytest.skip("this onnx shifts unsigned integers only")
    assert "int64" == _run("BitShift", arrays, opset=onnx.defs.onnx_opset_version(), direction="RIGHT").got

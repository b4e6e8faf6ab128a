"""ArgMax, TopK, Hardmax against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper

TIES = np.array([[3, 1, 3, 2], [0, 5, 5, 5], [2, 2, 2, 2]])


@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_arg(convert, operator, axis, keepdims, last, dtype):
    """The first or the last of equal elements."""
    node = helper.make_node(operator, ["x"], ["y"], axis=axis, keepdims=keepdims, select_last_index=last)
    convert([node], {"x": TIES.astype(dtype)}, output_dtype="int64")


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_top_k(convert, axis, largest, dtype):
    """The values, and of equal ones the first, along any axis."""
    nodes = [
        helper.make_node("TopK", ["x", "k"], ["y", "i"], axis=axis, largest=largest),
        helper.make_node("Cast", ["i"], ["z"], to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype))),
    ]
    constants = {"k": np.array([2], np.int64)}
    convert(nodes, {"x": TIES.astype(dtype)}, outputs=("y", "z"), constants=constants, dtype=dtype)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("opset", [11, 13])
def test_hardmax(convert, axis, opset):
    """One where the maximum is; before operator set 13 over all axes from `axis` on."""
    convert([helper.make_node("Hardmax", ["x"], ["y"], axis=axis)], {"x": (2, 3, 4)}, opset=opset)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_cumulative_sum(convert, exclusive, reverse, dtype):
    """In both directions, with and without the element itself."""
    node = helper.make_node("CumSum", ["x", "a"], ["y"], exclusive=exclusive, reverse=reverse)
    made = convert([node], {"x": (3, 5)}, constants={"a": np.array(1, np.int64)}, dtype=dtype)
    assert ["CUMSUM"] == made.types

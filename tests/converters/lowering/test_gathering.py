"""What reads and writes elements by their places, against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper

I64 = np.int64


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(
    "indices", [np.array(-1, I64), np.array([2, 0, -3], I64), np.array([[0, 1], [2, -1]], I64)]
)
@pytest.mark.parametrize("computed", [False, True])
def test_gather(convert, axis, indices, computed):
    """Scalar, vector and matrix of indices, some negative, constant or computed."""
    node = helper.make_node("Gather", ["x", "i"], ["y"], axis=axis)
    inputs, constants = {"x": (3, 4, 5)}, {}
    (inputs if computed else constants)["i"] = np.array(indices, I64)
    made = convert([node], inputs, constants=constants)
    assert (["FLOOR_MOD", "GATHER"] if computed else ["GATHER"]) == made.types


def test_index_out_of_bounds(judge):
    """A constant index that the runtime would trip over is refused."""
    node = helper.make_node("Gather", ["x", "i"], ["y"])
    (verdict,) = judge([node], {"x": (3, 4)}, constants={"i": np.array([3], I64)})
    assert "out of bounds" in verdict.reason


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_gather_elements(convert, axis, computed):
    """Along the first and the last axis."""
    indices = np.array([[0, -1, 1], [2, 0, 0]], I64)
    node = helper.make_node("GatherElements", ["x", "i"], ["y"], axis=axis)
    inputs, constants = {"x": (3, 4)}, {}
    (inputs if computed else constants)["i"] = indices
    convert([node], inputs, constants=constants)


@pytest.mark.parametrize(
    ("indices", "batch"),
    [([[0, 1], [-1, 0]], 0), ([[1], [-1]], 0), ([[[1]], [[0]]], 1), ([[[1, 0]], [[0, 2]]], 1)],
)
@pytest.mark.parametrize("computed", [False, True])
def test_gather_nd(convert, indices, batch, computed):
    """Whole and partial coordinates, with and without a batch axis."""
    node = helper.make_node("GatherND", ["x", "i"], ["y"], batch_dims=batch)
    inputs, constants = {"x": (2, 3, 4)}, {}
    (inputs if computed else constants)["i"] = np.array(indices, I64)
    convert([node], inputs, constants=constants)


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("reduction", ["none", "add"])
def test_scatter_elements(convert, reduction, computed):
    """Written, or added to what is there."""
    node = helper.make_node("ScatterElements", ["x", "i", "u"], ["y"], axis=1, reduction=reduction)
    inputs, constants = {"x": (2, 5), "u": (2, 2)}, {}
    (inputs if computed else constants)["i"] = np.array([[1, 4], [0, -2]], I64)
    convert([node], inputs, constants=constants)


@pytest.mark.parametrize("reduction", ["none", "add", "mul"])
def test_scatter_nd(convert, reduction):
    """Rows written, added, multiplied."""
    node = helper.make_node("ScatterND", ["x", "i", "u"], ["y"], reduction=reduction)
    convert([node], {"x": (4, 3), "u": (2, 3)}, constants={"i": np.array([[3], [-4]], I64)}, opset=16)


def test_updates_that_meet(judge):
    """Two updates of one element have no order in the runtime, so it is refused."""
    node = helper.make_node("ScatterND", ["x", "i", "u"], ["y"])
    (verdict,) = judge([node], {"x": (4, 3), "u": (2, 3)}, constants={"i": np.array([[1], [1]], I64)})
    assert "meet at one place" in verdict.reason


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(convert, axis):
    """Indices from either end, and one that is in neither."""
    node = helper.make_node("OneHot", ["i", "d", "v"], ["y"], axis=axis)
    constants = {"d": np.array(3, I64), "v": np.array([-1, 2], np.float32)}
    convert([node], {"i": np.array([0, 2, -1, 7], I64)}, constants=constants)

"""Reductions against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper


@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"])
@pytest.mark.parametrize("axes", [None, (1,), (2, 3), (-1,), (0, 2)])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("opset", [11, 18])
def test_reduction(convert, operator, axes, keepdims, opset):
    """Axes as an attribute or as an input, kept or not."""
    given, constants, names = {}, {}, ["x"]
    if axes is not None and opset < 13:
        given["axes"] = axes
    elif axes is not None:
        constants["axes"] = np.array(axes, np.int64)
        names.append("axes")
    node = helper.make_node(operator, names, ["y"], keepdims=keepdims, **given)
    convert([node], {"x": (2, 3, 4, 5)}, constants=constants, opset=opset)


def test_nothing_to_reduce(convert):
    """noop_with_empty_axes makes it a copy."""
    node = helper.make_node("ReduceSum", ["x"], ["y"], noop_with_empty_axes=1)
    made = convert([node], {"x": (2, 3)})
    assert ["RESHAPE"] == made.types


@pytest.mark.parametrize(("axes", "perm"), [((2, 3), None), ((1,), None), ((2,), (0, 2, 1))])
def test_feature_map_keeps_its_layout(convert, axes, perm):
    """A reduction that drops axes of a feature map in NHWC leaves the others in their order."""
    weights = np.random.default_rng(5).normal(size=(4, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=(0, 3, 1, 2)),
        helper.make_node("Conv", ["t", "w"], ["c"]),
        helper.make_node("ReduceMean", ["c"], ["m" if perm else "y"], axes=axes, keepdims=0),
    ]
    if perm:
        nodes.append(helper.make_node("Transpose", ["m"], ["y"], perm=perm))
    made = convert(nodes, {"x": (1, 5, 6, 3)}, constants={"w": weights})
    assert ["CONV_2D", "MEAN"] == made.types


@pytest.mark.parametrize(
    "operator", ["ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare"]
)
@pytest.mark.parametrize("axes", [None, (1,), (0, 2)])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_composed_reduction(convert, operator, axes, keepdims):
    """Norms, logarithms, products and squares."""
    values = np.random.default_rng(4).uniform(0.5, 2, (2, 3, 4)).astype(np.float32)
    given = {} if axes is None else {"axes": axes}
    node = helper.make_node(operator, ["x"], ["y"], keepdims=keepdims, **given)
    convert([node], {"x": values}, tolerance=1e-5)


def test_log_sum_exp_does_not_overflow(convert):
    """Values whose exponential is no float."""
    node = helper.make_node("ReduceLogSumExp", ["x"], ["y"], axes=(1,))
    convert([node], {"x": np.array([[500.0, 501.0], [-500.0, -501.0]], np.float32)})


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMin"])
def test_reduction_of_bools(convert, operator):
    """Any and all."""
    values = np.array([[True, False], [True, True], [False, False]])
    node = helper.make_node(operator, ["x", "a"], ["y"])
    constants = {"a": np.array([1], np.int64)}
    convert([node], {"x": values}, constants=constants, opset=20, dtype="bool")


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceProd", "ReduceMax", "ReduceL1"])
def test_reduction_of_integers(convert, operator, dtype):
    """Exact in their own dtype."""
    node = helper.make_node(operator, ["x"], ["y"], axes=[0]) if operator != "ReduceSum" else None
    constants = {"a": np.array([0], np.int64)}
    node = node or helper.make_node(operator, ["x", "a"], ["y"])
    values = np.array([[3, -1], [70000, 2], [5, -7]], dtype)
    convert([node], {"x": values}, constants=constants if len(node.input) > 1 else {}, dtype=dtype, opset=13)

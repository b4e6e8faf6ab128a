"""What reads a feature map, which lies in NHWC after a convolution, against ONNX Runtime."""

import numpy as np
import pytest
from onnx import TensorProto, helper

WEIGHTS = np.random.default_rng(0).normal(size=(6, 6, 3, 3)).astype(np.float32)
SCALE = np.arange(6, dtype=np.float32).reshape(6, 1, 1)
ROW = np.array([2, 1.5, 3, -2, 1], np.float32)


def _node(*args, **kwargs):
    return helper.make_node(*args, **kwargs)


def _ints(*values):
    return np.array(values, np.int64)


def _float(name):
    return _node("Cast", [name], ["y"], to=TensorProto.FLOAT)


CASES = {
    "slice": ([_node("Slice", ["c", "s", "e", "a"], ["y"])], {"s": _ints(1), "e": _ints(4), "a": _ints(1)}),
    "split": ([_node("Split", ["c"], ["a", "b"], axis=1), _node("Mul", ["a", "b"], ["y"])], {}),
    "gather": ([_node("Gather", ["c", "i"], ["y"], axis=1)], {"i": _ints(3, -1, 0)}),
    "gather one": ([_node("Gather", ["c", "i"], ["y"], axis=1)], {"i": np.array(2)}),
    "gather many": ([_node("Gather", ["c", "i"], ["y"], axis=1)], {"i": _ints([0, 1], [2, 3])}),
    "arg": ([_node("ArgMax", ["c"], ["z"], axis=1), _float("z")], {}),
    "arg dropped": ([_node("ArgMax", ["c"], ["z"], axis=2, keepdims=0), _float("z")], {}),
    "top": ([_node("TopK", ["c", "k"], ["y", "i"], axis=1)], {"k": _ints(2)}),
    "sum": ([_node("CumSum", ["c", "k"], ["y"])], {"k": np.array(1)}),
    "log": ([_node("ReduceLogSumExp", ["c"], ["y"], axes=[1], keepdims=0)], {}),
    "norm": ([_node("ReduceL2", ["c"], ["y"], axes=[2], keepdims=0)], {}),
    "hardmax": ([_node("Hardmax", ["c"], ["y"], axis=1)], {}),
    "where": ([_node("Greater", ["c", "k"], ["m"]), _node("Where", ["m", "c", "k"], ["y"])], {"k": SCALE}),
    "where row": ([_node("Greater", ["c", "k"], ["m"]), _node("Where", ["m", "k", "c"], ["y"])], {"k": ROW}),
    "slope": ([_node("PRelu", ["c", "k"], ["y"])], {"k": SCALE}),
    "tile": ([_node("Tile", ["c", "k"], ["y"])], {"k": _ints(1, 2, 1, 3)}),
    "expand": (
        [_node("ReduceMax", ["c"], ["m"], axes=[1]), _node("Expand", ["m", "k"], ["y"])],
        {"k": _ints(2, 3, 4, 5)},
    ),
    "elements": ([_node("GatherElements", ["c", "i"], ["y"], axis=2)], {"i": _ints([[[1, -2]]])}),
    "scatter": (
        [_node("ScatterElements", ["c", "i", "u"], ["y"], axis=2)],
        {"i": _ints([[[1, 2]]]), "u": np.array([[[[9, 8]]]], np.float32)},
    ),
    "mean": (
        [_node("ReduceMean", ["c"], ["m"], axes=[1, 2]), _node("Mean", ["c", "m", "k"], ["y"])],
        {"k": ROW},
    ),
    "modulo": ([_node("Mod", ["c", "k"], ["y"], fmod=1)], {"k": ROW}),
    "einsum": ([_node("Einsum", ["c", "k"], ["y"], equation="nchw,cd->ndhw")], {"k": WEIGHTS[:, :3, 0, 0]}),
    "triangle": ([_node("Trilu", ["c"], ["y"])], {}),
}


@pytest.mark.parametrize("case", CASES)
def test_after_a_convolution(convert, case):
    """The axis that the node names is found where it lies."""
    nodes, constants = CASES[case]
    first = _node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1])
    convert([first, *nodes], {"x": (1, 6, 4, 5)}, constants={"w": WEIGHTS, **constants}, tolerance=1e-5)

"""Attributes and operands that contradict each other, or mean different things to different runtimes.

All of them were found by fuzzing: the file passes ONNX's checker, and what it means is not certain.
"""

import numpy as np
import pytest
from onnx import helper

CASES = {
    "keepdims of 255": ([helper.make_node("ReduceSum", ["x"], ["y"], keepdims=255)], (2, 3), {}, "keepdims"),
    "largest of 2": (
        [helper.make_node("TopK", ["x", "k"], ["y", "i"], largest=2)],
        (2, 3),
        {"k": np.array([1])},
        "largest",
    ),
    "auto_pad without a name": (
        [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], auto_pad="")],
        (1, 1, 4, 4),
        {},
        "auto_pad",
    ),
    "NaN for an alpha": ([helper.make_node("Selu", ["x"], ["y"], alpha=float("nan"))], (2, 3), {}, "alpha"),
    "an alpha out of bounds": ([helper.make_node("Celu", ["x"], ["y"], alpha=1e30)], (2, 3), {}, "alpha"),
    "an alpha of zero": ([helper.make_node("Celu", ["x"], ["y"], alpha=0.0)], (2, 3), {}, "alpha"),
    "updates that meet": (
        [helper.make_node("ScatterElements", ["x", "i", "u"], ["y"], axis=0)],
        (3, 1),
        {"i": np.array([[1], [-2]]), "u": np.ones((2, 1), np.float32)},
        "meet at one place",
    ),
    "a stride of two to the 31st": (
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[1 << 31, 1])],
        (1, 1, 1, 4),
        {"w": np.ones((1, 1, 1, 1), np.float32)},
        "stride",
    ),
    "an axis far away": (
        [helper.make_node("LogSoftmax", ["x"], ["y"], axis=-(1 << 63))],
        (2, 3),
        {},
        "axis",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused(judge, name):
    """It is refused by the attribute or operand that is at fault."""
    nodes, shape, constants, named = CASES[name]
    [verdict] = judge(nodes, {"x": shape}, constants=constants)
    assert not verdict.ok
    assert named in str(verdict)

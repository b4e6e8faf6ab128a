"""Transposed convolutions and what else puts windows back, against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper


def _weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": (2, 3)},
        {"strides": (2, 2), "pads": (1, 0, 0, 1)},
        {"strides": (3, 2), "output_padding": (2, 1)},
        {"strides": (2, 2), "pads": (1, 1, 1, 1), "output_padding": (1, 1)},
        {"dilations": (2, 3), "pads": (1, 1, 1, 1)},
        {"strides": (3, 3), "output_shape": (14, 13)},
        {"strides": (2, 2), "auto_pad": "SAME_UPPER"},
        {"strides": (2, 2), "auto_pad": "SAME_LOWER"},
    ],
)
@pytest.mark.parametrize("constant", [True, False])
def test_two_axes(convert, attributes, constant):
    """Every attribute, by weights that are constant or computed."""
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)
    weights = {"w": _weights(3, 4, 3, 3)}
    inputs = {"x": (2, 3, 4, 5), **({} if constant else weights)}
    made = convert([node], inputs, constants={"b": _weights(4), **(weights if constant else {})})
    assert "TRANSPOSE_CONV" in made.types


@pytest.mark.parametrize(("shape", "kernel"), [((1, 4, 9), (3,)), ((1, 4, 3, 4, 5), (2, 3, 2))])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_other_axes_and_groups(convert, shape, kernel, group):
    """One and three axes; a group has a convolution of its own."""
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], group=group, strides=(2,) * len(kernel))
    constants = {"w": _weights(4, 3, *kernel), "b": _weights(3 * group)}
    convert([node], {"x": shape}, constants=constants)


def test_many_groups(convert):
    """More groups than a few are one convolution with zeros in its weights."""
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], group=8, strides=(2, 2))
    made = convert([node], {"x": (1, 8, 4, 4)}, constants={"w": _weights(8, 1, 3, 3), "b": _weights(8)})
    assert 1 == made.types.count("TRANSPOSE_CONV")


def test_same_needs_no_slice(convert):
    """What TFLite's SAME cuts off is left to it."""
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=(2, 2), pads=(1, 1, 1, 1))
    made = convert([node], {"x": (1, 3, 5, 5)}, constants={"w": _weights(3, 2, 4, 4)})
    assert ["TRANSPOSE", "TRANSPOSE_CONV", "TRANSPOSE"] == made.types


def test_col2im(convert):
    """Windows that overlap are summed."""
    node = helper.make_node(
        "Col2Im", ["x", "i", "k"], ["y"], strides=(2, 1), pads=(1, 0, 1, 0), dilations=(1, 2)
    )
    constants = {"i": np.array([6, 7], np.int64), "k": np.array([2, 3], np.int64)}
    convert([node], {"x": (2, 12, 12)}, constants=constants, opset=18)


def test_max_unpool(convert):
    """The maxima go back to where they came from."""
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p", "i"], kernel_shape=(2, 2), strides=(2, 2)),
        helper.make_node("MaxUnpool", ["p", "i"], ["y"], kernel_shape=(2, 2), strides=(2, 2)),
    ]
    convert(nodes, {"x": (1, 3, 6, 4)})


def test_max_unpool_of_windows_that_overlap(judge):
    """Two maxima in one place would be added: refused."""
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p", "i"], kernel_shape=(3, 3), strides=(2, 2)),
        helper.make_node("MaxUnpool", ["p", "i"], ["y"], kernel_shape=(3, 3), strides=(2, 2)),
    ]
    verdicts = judge(nodes, {"x": (1, 3, 7, 7)})
    assert "overlap" in verdicts[1].reason

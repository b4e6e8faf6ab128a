"""Pools against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper


@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 2)])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 1, 0)])
@pytest.mark.parametrize("ceil_mode", [0, 1])
def test_max_pool(convert, size, strides, pads, ceil_mode):
    """MaxPool is exact under any padding and with ceil_mode."""
    node = helper.make_node(
        "MaxPool", ["x"], ["y"], kernel_shape=(3, 2), strides=strides, pads=pads, ceil_mode=ceil_mode
    )
    convert([node], {"x": (1, 3, *size)}, tolerance=0)


@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
@pytest.mark.parametrize("auto_pad", ["VALID", "SAME_UPPER"])
@pytest.mark.parametrize("count_include_pad", [0, 1])
def test_average_pool_auto_pad(convert, size, strides, auto_pad, count_include_pad):
    """AveragePool counts padding as count_include_pad says; SAME leaves it out."""
    node = helper.make_node(
        "AveragePool",
        ["x"],
        ["y"],
        kernel_shape=(3, 3),
        strides=strides,
        auto_pad=auto_pad,
        count_include_pad=count_include_pad,
    )
    convert([node], {"x": (1, 3, *size)})


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 1, 0)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_average_pool_counting_padding(convert, pads, strides):
    """With count_include_pad any padding is an explicit PAD."""
    node = helper.make_node(
        "AveragePool", ["x"], ["y"], kernel_shape=(3, 3), strides=strides, pads=pads, count_include_pad=1
    )
    made = convert([node], {"x": (1, 3, 8, 8)})
    assert any(pads) == ("PAD" in made.types)


def test_average_pool_same_in_ceil_mode(convert):
    """What ceil_mode adds is not counted, which is what SAME does."""
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=(2, 2), strides=(2, 2), ceil_mode=1)
    made = convert([node], {"x": (1, 3, 7, 7)})
    assert "SAME" == made.graph.operators[1].options["padding"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": (1, 1, 1, 1), "strides": (2, 2)},
        {"pads": (1, 1, 1, 1), "strides": (2, 2), "ceil_mode": 1, "count_include_pad": 1},
        {"pads": (0, 1, 1, 1), "ceil_mode": 1, "strides": (2, 2)},
        {"auto_pad": "SAME_LOWER", "strides": (2, 2)},
        {"dilations": (2, 2), "pads": (1, 1, 1, 1)},
        {"dilations": (1, 2), "count_include_pad": 1, "pads": (1, 1, 1, 1)},
    ],
)
def test_average_pool_counts(convert, attributes):
    """What AVERAGE_POOL_2D counts otherwise is put right by a constant."""
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=(3, 3), **attributes)
    convert([node], {"x": (1, 3, 9, 8)}, opset=19)


@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool", "LpPool"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_axes(convert, operator, axes, strides, dilation):
    """Pools over one to three axes, dilated or not."""
    more = {} if operator == "LpPool" else {"pads": (1,) * axes + (0,) * axes}
    node = helper.make_node(
        operator,
        ["x"],
        ["y"],
        kernel_shape=(2, 3, 2)[:axes],
        strides=(strides,) * axes,
        dilations=(dilation,) * axes,
        **more,
    )
    convert([node], {"x": (1, 3, *(8, 7, 9)[:axes])}, opset=22)


@pytest.mark.parametrize("degree", [1, 3])
def test_lp_pool_of_other_degrees(convert, degree):
    """A sum of powers and its root."""
    node = helper.make_node("LpPool", ["x"], ["y"], kernel_shape=(3, 2), p=degree)
    convert([node], {"x": (1, 3, 6, 7)}, tolerance=1e-5)


@pytest.mark.parametrize("degree", [1, 2])
def test_global_lp_pool(convert, degree):
    """The norm over the spatial axes."""
    convert([helper.make_node("GlobalLpPool", ["x"], ["y"], p=degree)], {"x": (1, 3, 6, 7)})


@pytest.mark.parametrize(
    ("before", "kernel", "pads", "types"),
    [
        ("Relu", 3, (1, 1, 1, 1), ["RELU", "PAD"]),
        ("Neg", 3, (1, 1, 1, 1), ["NEG", "MIRROR_PAD"]),
        ("Neg", 3, (0, 1, 0, 0), ["NEG", "MIRROR_PAD"]),
        ("Neg", 5, (2, 2, 2, 2), ["NEG", "MIRROR_PAD"]),
        ("Neg", 3, (2, 2, 2, 2), ["NEG", "PADV2"]),
        ("Neg", 2, (1, 1, 0, 0), ["NEG", "MIRROR_PAD"]),
    ],
)
@pytest.mark.parametrize("size", [(8, 8), (6, 9), (2, 2)])
def test_padding_changes_no_maximum(convert, before, kernel, pads, types, size):
    """Padding stays within the range of the feature map wherever it can."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=(0, 3, 1, 2)),
        helper.make_node(before, ["t"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["p"], kernel_shape=(kernel,) * 2, strides=(2, 2), pads=pads),
        helper.make_node("Transpose", ["p"], ["y"], perm=(0, 2, 3, 1)),
    ]
    made = convert(nodes, {"x": (1, *size, 3)}, tolerance=0)
    if size == (8, 8):
        assert [*types, "MAX_POOL_2D"] == made.types


def test_window_of_padding(judge):
    """A window of ceil_mode that holds only padding is refused: ONNX and its runtime disagree on it."""
    node = helper.make_node(
        "MaxPool", ["x"], ["y"], kernel_shape=(3, 3), strides=(3, 3), pads=(1, 1, 1, 1), ceil_mode=1
    )
    (verdict,) = judge([node], {"x": (1, 3, 8, 8)})
    assert "only padding" in verdict.reason


@pytest.mark.parametrize(
    "attributes", [{}, {"pads": (1, 0, 1, 1)}, {"strides": (2, 3)}, {"storage_order": 1}]
)
def test_max_pool_indices(convert, attributes):
    """Where the maxima lie in the input is exact."""
    node = helper.make_node("MaxPool", ["x"], ["y", "indices"], kernel_shape=(2, 3), **attributes)
    last = helper.make_node("Cast", ["indices"], ["places"], to=1)
    convert([node, last], {"x": (2, 3, 8, 7)}, outputs=("y", "places"), tolerance=0)


def test_max_pool_of_bytes(convert):
    """Of uint8 padding is zero, which is the lowest."""
    values = np.random.default_rng(3).integers(0, 255, (1, 2, 7, 7)).astype(np.uint8)
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=(3, 3), pads=(1, 0, 0, 1))
    convert([node], {"x": values}, output_dtype="uint8", tolerance=0)


@pytest.mark.parametrize("shape", [(1, 3, 5, 4), (2, 3, 6), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("operator", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools(convert, operator, shape):
    """Global pools over any number of spatial axes."""
    convert([helper.make_node(operator, ["x"], ["y"])], {"x": shape})

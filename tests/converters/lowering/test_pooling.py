"""Pools against ONNX Runtime."""

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
    ("attributes", "reason"),
    [
        ({"pads": (1, 1, 1, 1), "strides": (2, 2)}, "TFLite's SAME"),
        ({"pads": (1, 1, 1, 1), "strides": (2, 2), "ceil_mode": 1, "count_include_pad": 1}, "ceil_mode"),
        ({"dilations": (2, 2)}, "dilation"),
    ],
)
def test_average_pool_refusals(judge, attributes, reason):
    """What AVERAGE_POOL_2D cannot compute exactly is refused."""
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=(3, 3), **attributes)
    (verdict,) = judge([node], {"x": (1, 3, 8, 8)}, opset=19)
    assert not verdict.ok
    assert reason in verdict.reason


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


def test_max_pool_indices(judge):
    """The second output of MaxPool is refused."""
    node = helper.make_node("MaxPool", ["x"], ["y", "indices"], kernel_shape=(2, 2))
    (verdict,) = judge([node], {"x": (1, 3, 8, 8)})
    assert "only its first output" in verdict.reason


@pytest.mark.parametrize("shape", [(1, 3, 5, 4), (2, 3, 6), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("operator", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools(convert, operator, shape):
    """Global pools over any number of spatial axes."""
    convert([helper.make_node(operator, ["x"], ["y"])], {"x": shape})

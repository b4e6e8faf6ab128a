"""Conv against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper


def _weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def _conv(**attributes: object) -> list:
    return [helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)]


@pytest.mark.parametrize("size", [(7, 7), (8, 8), (9, 6)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 4)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize("padding", ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])
def test_padding_and_strides(convert, size, kernel, strides, padding):
    """Every auto_pad gives what ONNX Runtime gives, at even and odd sizes."""
    convert(
        _conv(auto_pad=padding, strides=strides, kernel_shape=kernel),
        {"x": (1, 3, *size)},
        constants={"w": _weights(4, 3, *kernel), "b": _weights(4)},
    )


@pytest.mark.parametrize(
    ("size", "strides", "pads", "types", "padding"),
    [
        ((8, 8), (1, 1), (1, 1, 1, 1), [], "SAME"),
        ((8, 8), (2, 2), (0, 0, 1, 1), [], "SAME"),
        ((7, 7), (2, 2), (1, 1, 1, 1), [], "SAME"),
        ((8, 8), (2, 2), (1, 1, 1, 1), ["PAD"], "VALID"),
        ((8, 8), (1, 1), (0, 0, 0, 0), [], "VALID"),
        ((8, 8), (1, 1), (2, 0, 1, 3), ["PAD"], "VALID"),
        ((8, 7), (2, 2), (0, 1, 1, 1), [], "SAME"),
    ],
)
def test_explicit_pads(convert, size, strides, pads, types, padding):
    """Pads that equal TFLite's SAME become SAME, zero pads VALID, others an explicit PAD."""
    made = convert(
        _conv(pads=pads, strides=strides),
        {"x": (1, 3, *size)},
        constants={"w": _weights(4, 3, 3, 3), "b": _weights(4)},
    )
    assert ["TRANSPOSE", *types, "CONV_2D", "TRANSPOSE"] == made.types
    assert padding == made.graph.operators[-2].options["padding"]


@pytest.mark.parametrize("dilations", [(2, 2), (1, 3)])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (2, 2, 2, 2), (2, 3, 2, 3)])
@pytest.mark.parametrize("group", [1, 3])
def test_dilation(convert, dilations, pads, group):
    """Dilated convolutions, depthwise ones too."""
    convert(
        _conv(pads=pads, dilations=dilations, group=group),
        {"x": (1, 3, 11, 10)},
        constants={"w": _weights(6, 3 // group, 3, 3), "b": _weights(6)},
    )


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_depthwise(convert, multiplier, strides):
    """A group per channel is DEPTHWISE_CONV_2D with its multiplier."""
    made = convert(
        _conv(group=5, pads=(1, 1, 1, 1), strides=strides),
        {"x": (2, 5, 9, 9)},
        constants={"w": _weights(5 * multiplier, 1, 3, 3), "b": _weights(5 * multiplier)},
    )
    assert multiplier == made.graph.operators[1].options["depthMultiplier"]


def test_no_bias(convert):
    """A convolution without a bias gets a bias of zeros, as every runtime expects one."""
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    made = convert([node], {"x": (1, 2, 5, 5)}, constants={"w": _weights(4, 2, 3, 3)})
    convolution = made.graph.operators[1]
    assert [0.0] * 4 == made.graph.constant(convolution.inputs[2]).tolist()


@pytest.mark.parametrize(
    ("shape", "weights", "group", "attributes", "builtin"),
    [
        ((2, 4, 9), (6, 4, 3), 1, {"pads": (1, 1), "strides": (2,)}, "CONV_2D"),
        ((1, 4, 9), (4, 1, 3), 4, {"pads": (2, 0), "dilations": (2,)}, "DEPTHWISE_CONV_2D"),
        ((1, 4, 9, 7), (6, 2, 3, 3), 2, {"pads": (1, 1, 1, 1)}, "CONV_2D"),
        ((1, 3, 5, 6, 7), (4, 3, 3, 2, 3), 1, {"auto_pad": "SAME_UPPER"}, "CONV_3D"),
        ((1, 4, 5, 6, 7), (6, 2, 2, 2, 2), 2, {"pads": (1, 0, 0, 0, 1, 1)}, "CONV_3D"),
        ((1, 2, 6, 6, 6), (3, 2, 2, 2, 2), 1, {"dilations": (2, 1, 3), "strides": (1, 2, 1)}, "CONV_3D"),
    ],
)
@pytest.mark.parametrize("constant", [True, False])
def test_axes_and_groups(convert, shape, weights, group, attributes, builtin, constant):
    """One to three axes, in groups, by weights that are constant or computed."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=group, **attributes)
    kernel = _weights(*weights)
    where = {"constants": {"w": kernel}} if constant else {}
    made = convert([node], {"x": shape, **({} if constant else {"w": kernel})}, **where)
    assert builtin in made.types


def test_refusals(judge):
    """A window over four axes is refused, and the verdict says why."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="first")
    (verdict,) = judge([node], {"x": (1, 2, 4, 4, 4, 4)}, constants={"w": _weights(2, 2, 2, 2, 2, 2)})
    assert not verdict.ok
    assert ("Conv", "first") == (verdict.operator, verdict.place)
    assert "too many axes" in verdict.reason
    assert (verdict.got, verdict.limit) == ("4D", "1D, 2D, 3D")

"""Depthwise convolutions of a single weight per channel."""

import pytest

OPTIONS = {"padding": "SAME", "strideH": 1, "strideW": 1, "depthMultiplier": 1}


def depthwise(b, tensor, bias, side=1, **more):
    """A depthwise convolution of x's four channels."""
    weights = b.constant(1, side, side, 4)
    shape = b.graph.tensors[tensor].shape
    return b.add("DEPTHWISE_CONV_2D", [tensor, weights, bias], shape, **OPTIONS | more)


def test_without_bias(build, rewrite):
    """One weight per channel is a product."""
    b = build((1, 3, 3, 4))
    made = depthwise(b, b.unary("COS", "x"), b.constant(value=[0.0] * 4))
    assert ({"reduce_depthwise": 1}, ["COS", "MUL"]) == rewrite(b.outputs(made))


def test_behind_a_convolution(build, rewrite):
    """And so it goes into the weights before it."""
    b = build((1, 6, 6, 3))
    made = depthwise(b, b.conv("x", 4), b.constant(value=[0.0] * 4))
    assert ["CONV_2D"] == rewrite(b.outputs(made))[1]


@pytest.mark.parametrize(
    ("side", "activation", "value"), [(3, "NONE", 0.0), (1, "RELU6", 0.0), (1, "NONE", 1.0)]
)
def test_what_stays(build, rewrite, side, activation, value):
    """A larger window, an activation, a bias: two operators would take its place."""
    b = build((1, 3, 3, 4))
    made = depthwise(b, "x", b.constant(value=[value] * 4), side, fusedActivationFunction=activation)
    assert {} == rewrite(b.outputs(made))[0]

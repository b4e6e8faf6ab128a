"""MUL in front of an operator with weights."""

import pytest


@pytest.mark.parametrize("factor", [(1,), (3,)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_convolution(build, rewrite, factor, padding):
    """A factor per input channel goes into the weights; padding is zero before and after."""
    b = build((1, 6, 6, 3))
    graph = b.outputs(b.conv(b.binary("MUL", "x", b.constant(*factor)), 4, padding=padding))
    assert ({"fold_mul_forward": 1, "remove_dead": 1}, ["CONV_2D"]) == rewrite(graph)
    assert (0, 1) == graph.operators[0].sources


def test_depthwise(build, rewrite):
    """Each input channel has as many weights as the multiplier says."""
    b = build((1, 6, 6, 3))
    inputs = [b.binary("MUL", b.constant(3), "x"), b.constant(1, 3, 3, 6), b.constant(6)]
    options = {"padding": "SAME", "strideH": 1, "strideW": 1, "depthMultiplier": 2}
    graph = b.outputs(b.add("DEPTHWISE_CONV_2D", inputs, (1, 6, 6, 6), **options))
    assert ({"fold_mul_forward": 1, "remove_dead": 1}, ["DEPTHWISE_CONV_2D"]) == rewrite(graph)


def test_fully_connected(build, rewrite):
    """A factor per column; a division comes by way of its inverse."""
    b = build((2, 5))
    graph = b.outputs(b.dense(b.binary("DIV", "x", b.constant(value=[255.0])), 4))
    assert {"reduce_divisions": 1, "fold_mul_forward": 1, "remove_dead": 1} == rewrite(graph)[0]


def test_what_stays(build, rewrite):
    """A factor per position, an activation, a product that something else reads."""
    b = build((1, 6, 6, 3))
    position = b.conv(b.binary("MUL", "x", b.constant(6, 6, 1)), 4)
    active = b.conv(b.scaled("MUL", "x", 2, fusedActivationFunction="RELU"), 4)
    read = b.scaled("MUL", "x", 3)
    assert {} == rewrite(b.outputs(position, active, b.conv(read, 4), read))[0]

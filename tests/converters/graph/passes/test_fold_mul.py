"""MUL behind an operator with weights."""

import pytest


@pytest.mark.parametrize("shape", [(4,), (1, 1, 1, 4), (), (1,)])
@pytest.mark.parametrize("activation", ["NONE", "RELU6"])
def test_convolution(build, rewrite, shape, activation):
    """A factor per channel goes into weights and bias, its activation with it."""
    b = build((1, 6, 6, 3))
    made = b.binary("MUL", b.conv("x", 4), b.constant(*shape), fusedActivationFunction=activation)
    graph = b.outputs(made)
    assert ({"fold_mul": 1}, ["CONV_2D"]) == rewrite(graph)
    assert (0, 1) == graph.operators[0].sources
    assert activation == graph.operators[0].options["fusedActivationFunction"]


def test_constant_on_the_left(build, rewrite):
    """The factor may be either operand."""
    b = build((1, 6, 6, 3))
    assert ({"fold_mul": 1}, ["CONV_2D"]) == rewrite(
        b.outputs(b.binary("MUL", b.constant(4), b.conv("x", 4)))
    )


def test_depthwise(build, rewrite):
    """Of a depthwise convolution the channels are the last axis of the weights."""
    b = build((1, 6, 6, 3))
    inputs = ["x", b.constant(1, 3, 3, 6), b.constant(6)]
    options = {"padding": "SAME", "strideH": 1, "strideW": 1, "depthMultiplier": 2}
    made = b.add("DEPTHWISE_CONV_2D", inputs, (1, 6, 6, 6), **options)
    assert {"fold_mul": 1} == rewrite(b.outputs(b.binary("MUL", made, b.constant(6))))[0]


@pytest.mark.parametrize("bias", [True, False])
def test_fully_connected(build, rewrite, bias):
    """So with FULLY_CONNECTED, with a bias and without."""
    b = build((2, 5))
    graph = b.outputs(b.binary("MUL", b.dense("x", 4, bias=bias), b.constant(4)))
    assert ({"fold_mul": 1}, ["FULLY_CONNECTED"]) == rewrite(graph)


def test_what_stays(build, rewrite):
    """A factor per position, an activation between, a second reader, an output: none of them folds."""
    b = build((1, 6, 6, 3))
    position = b.binary("MUL", b.conv("x", 4), b.constant(4, 4, 1))
    between = b.binary("MUL", b.conv("x", 4, fusedActivationFunction="RELU"), b.constant(4))
    shared = b.conv("x", 4)
    read_twice = b.binary("MUL", shared, b.constant(4))
    output = b.conv("x", 4)
    behind = b.binary("MUL", output, b.constant(4))
    graph = b.outputs(position, between, read_twice, b.unary("RELU", shared), output, behind)
    assert {} == rewrite(graph)[0]


def test_shared_weights(build, rewrite):
    """Weights that two operators read are folded for the one alone."""
    b = build((1, 6, 6, 3))
    first = b.conv("x", 4)
    second = b.conv("x", 4)
    b.graph.operators[1].inputs = list(b.graph.operators[0].inputs)
    for name in [name for name in b.graph.tensors if name.startswith("constant")][2:]:
        del b.graph.tensors[name]
    graph = b.outputs(b.binary("MUL", first, b.constant(4)), second)
    assert ({"fold_mul": 1}, ["CONV_2D", "CONV_2D"]) == rewrite(graph)


def test_growing_broadcast(build, rewrite):
    """A factor that makes the result larger is no factor per channel."""
    b = build((1, 5))
    assert {} == rewrite(b.outputs(b.binary("MUL", b.dense("x", 4), b.constant(3, 4))))[0]

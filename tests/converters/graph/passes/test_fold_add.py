"""ADD behind an operator with weights."""

import pytest


@pytest.mark.parametrize("shape", [(4,), (1, 1, 1, 4), ()])
def test_convolution(build, rewrite, shape):
    """An offset per channel goes into the bias."""
    b = build((1, 6, 6, 3))
    graph = b.outputs(b.binary("ADD", b.conv("x", 4), b.constant(*shape)))
    assert ({"fold_add": 1}, ["CONV_2D"]) == rewrite(graph)
    assert (0, 1) == graph.operators[0].sources


@pytest.mark.parametrize("bias", [True, False])
def test_fully_connected(build, rewrite, bias):
    """Where there is no bias the offset becomes it."""
    b = build((2, 5))
    graph = b.outputs(b.binary("ADD", b.dense("x", 4, bias=bias), b.constant(4)))
    assert ({"fold_add": 1}, ["FULLY_CONNECTED"]) == rewrite(graph)


def test_batch_normalization(build, rewrite):
    """Offset, factor, offset and activation: all of it goes into the one operator."""
    b = build((2, 5))
    made = b.binary("ADD", b.dense("x", 4, bias=False), b.constant(4))
    made = b.binary("MUL", made, b.constant(4))
    made = b.binary("ADD", made, b.constant(4))
    graph = b.outputs(b.unary("RELU", made))
    counts = {"fold_add": 2, "fold_mul": 1, "fold_activation": 1}
    assert (counts, ["FULLY_CONNECTED"]) == rewrite(graph)
    assert (0, 1, 2, 3, 4) == graph.operators[0].sources


def test_what_stays(build, rewrite):
    """Two convolutions are added, an offset per position: neither folds."""
    b = build((1, 6, 6, 3))
    joined = b.binary("ADD", b.conv("x", 4), b.conv("x", 4))
    position = b.binary("ADD", b.conv("x", 4), b.constant(4, 4, 1))
    assert {} == rewrite(b.outputs(joined, position))[0]

"""LEAKY_RELU from its parts."""

import pytest


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.5])
def test_maximum(build, rewrite, alpha):
    """`max(x, a x)`, in either order of operands."""
    b = build((2, 50))
    graph = b.outputs(b.binary("MAXIMUM", b.scaled("MUL", "x", alpha), "x"))
    assert ["LEAKY_RELU"] == rewrite(graph)[1]
    assert pytest.approx(alpha) == graph.operators[0].options["alpha"]


def test_difference_of_two(build, rewrite):
    """`relu(x) - a relu(-x)` is another spelling."""
    b = build((2, 50))
    below = b.scaled("MUL", b.unary("RELU", b.unary("NEG", "x")), 0.2)
    assert ["LEAKY_RELU"] == rewrite(b.outputs(b.binary("SUB", b.unary("RELU", "x"), below)))[1]


@pytest.mark.parametrize("alpha", [1.5, -0.3])
def test_other_slopes(build, rewrite, alpha):
    """Above 1 the maximum is the other side; below 0 it is no leak."""
    b = build((2, 50))
    assert {} == rewrite(b.outputs(b.binary("MAXIMUM", "x", b.scaled("MUL", "x", alpha))))[0]


def test_of_two_tensors(build, rewrite):
    """The greater of x and a part of another tensor is none."""
    b = build((2, 50))
    assert {} == rewrite(b.outputs(b.binary("MAXIMUM", "x", b.scaled("MUL", b.unary("COS", "x"), 0.1))))[0]

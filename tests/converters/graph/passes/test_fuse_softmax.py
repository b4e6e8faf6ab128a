"""SOFTMAX from its parts."""

import pytest


def decomposed(b, axis, *, shifted):
    """`exp(x - max) / sum(exp(x - max))` along an axis of x."""
    shape = [1 if place == axis else size for place, size in enumerate(b.graph.tensors["x"].shape)]
    axes = b.constant(value=[axis], dtype="int32")
    tensor = "x"
    if shifted:
        tensor = b.binary("SUB", "x", b.add("REDUCE_MAX", ["x", axes], shape, keepDims=True))
    exponential = b.unary("EXP", tensor)
    return b.binary("DIV", exponential, b.add("SUM", [exponential, axes], shape, keepDims=True)), exponential


@pytest.mark.parametrize("shifted", [True, False])
def test_last_axis(build, rewrite, shifted):
    """With the maximum taken off first, and without."""
    b = build((2, 3, 5))
    assert ["SOFTMAX"] == rewrite(b.outputs(decomposed(b, 2, shifted=shifted)[0]))[1]


def test_what_stays(build, rewrite):
    """Along another axis, or where the exponentials are read."""
    b = build((2, 3, 5))
    assert "SOFTMAX" not in rewrite(b.outputs(decomposed(b, 1, shifted=True)[0]))[1]
    b = build((2, 3, 5))
    assert "SOFTMAX" not in rewrite(b.outputs(*decomposed(b, 2, shifted=True)))[1]

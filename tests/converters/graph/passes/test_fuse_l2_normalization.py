"""L2_NORMALIZATION from its parts."""

import pytest


def normalized(b, tensor, least=1e-12, axis=1, *, divide=False):
    """`tensor` over its norm along an axis."""
    rows, columns = b.graph.tensors[tensor].shape
    shape = (rows, 1) if axis == 1 else (1, columns)
    axes = b.constant(value=[axis], dtype="int32")
    total = b.add("SUM", [b.unary("SQUARE", tensor), axes], shape, keepDims=True)
    bound = b.scaled("MAXIMUM", total, least)
    if divide:
        return b.binary("DIV", tensor, b.unary("SQRT", bound))
    return b.binary("MUL", b.unary("RSQRT", bound), tensor)


@pytest.mark.parametrize("divide", [True, False])
def test_rows(build, rewrite, divide):
    """`x rsqrt(max(sum(x^2), 1e-12))`, as TensorFlow writes it, and by division."""
    b = build((3, 5))
    assert ["L2_NORMALIZATION"] == rewrite(b.outputs(normalized(b, "x", divide=divide)))[1]


@pytest.mark.parametrize(("least", "axis"), [(1e-6, 1), (1e-24, 1), (1e-12, 0)])
def test_what_stays(build, rewrite, least, axis):
    """Another bound than the kernel's own, another axis than the last."""
    b = build((3, 5))
    assert "L2_NORMALIZATION" not in rewrite(b.outputs(normalized(b, "x", least, axis)))[1]


def test_norm_of_another(build, rewrite):
    """The norm of one tensor and another one scaled by it."""
    b = build((3, 5))
    axes = b.constant(value=[1], dtype="int32")
    total = b.add("SUM", [b.unary("SQUARE", "x"), axes], (3, 1), keepDims=True)
    made = b.binary("MUL", b.unary("COS", "x"), b.unary("RSQRT", b.scaled("MAXIMUM", total, 1e-12)))
    assert {} == rewrite(b.outputs(made))[0]

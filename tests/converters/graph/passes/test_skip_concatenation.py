"""A SLICE that undoes a CONCATENATION."""

import pytest


def sliced(b, begin, shape):
    """A slice of two tensors that are joined along axis 1."""
    joined = b.add("CONCATENATION", [b.unary("COS", "x"), b.unary("SIN", "x")], (2, 6), axis=1)
    cut = [b.constant(value=value, dtype="int32") for value in (begin, shape)]
    return b.unary("ABS", b.add("SLICE", [joined, *cut], shape))


@pytest.mark.parametrize(("begin", "kept"), [([0, 0], "COS"), ([0, 3], "SIN")])
def test_one_part(build, rewrite, begin, kept):
    """Just one of the parts is that part, and the other one is not computed."""
    b = build((2, 3))
    assert [kept, "ABS"] == rewrite(b.outputs(sliced(b, begin, (2, 3))))[1]


@pytest.mark.parametrize(("begin", "shape"), [([0, 1], (2, 3)), ([0, 0], (1, 3)), ([0, 0], (2, 4))])
def test_what_stays(build, rewrite, begin, shape):
    """A part of both, and less or more than one of them."""
    b = build((2, 3))
    assert {} == rewrite(b.outputs(sliced(b, begin, shape)))[0]

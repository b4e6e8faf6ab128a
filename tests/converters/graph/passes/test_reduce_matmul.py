"""BATCH_MATMUL by a constant."""

import pytest


@pytest.mark.parametrize(("shape", "adjoint"), [((4, 5), False), ((2, 3, 5), False), ((4, 5), True)])
def test_constant_matrix(build, rewrite, shape, adjoint):
    """A matrix of weights is one of FULLY_CONNECTED, and takes the offset behind it as its bias."""
    b = build(shape)
    matrix = b.constant(*(7, 5) if adjoint else (5, 7))
    product = b.add("BATCH_MATMUL", ["x", matrix], (*shape[:-1], 7), adjY=adjoint)
    counts, types = rewrite(b.outputs(b.binary("ADD", product, b.constant(7))))
    assert ({"reduce_matmul": 1, "fold_add": 1}, ["FULLY_CONNECTED"]) == (counts, types)


def test_what_stays(build, rewrite):
    """Two tensors, a matrix for each of a batch, a first operand that lies the other way."""
    b = build((2, 4, 4))
    both = b.add("BATCH_MATMUL", ["x", b.unary("COS", "x")], (2, 4, 4))
    each = b.add("BATCH_MATMUL", ["x", b.constant(2, 4, 4)], (2, 4, 4))
    other = b.add("BATCH_MATMUL", ["x", b.constant(4, 4)], (2, 4, 4), adjX=True)
    assert {} == rewrite(b.outputs(both, each, other))[0]

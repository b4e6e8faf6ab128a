"""TRANSPOSE brought to what ends it."""

import numpy as np

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def ints(b, *value):
    """A constant of integers."""
    return b.constant(value=value, dtype="int32")


def test_through_elementwise(build, rewrite):
    """Between a TRANSPOSE and its inverse elementwise operators work on what lies there."""
    b = build((1, 3, 4, 5))
    tensor = b.unary("COS", b.transpose("x", *TO_LAST))
    tensor = b.binary("MUL", tensor, b.constant(3))
    tensor = b.binary("ADD", b.constant(4, 5, 1), tensor)
    graph = b.outputs(b.transpose(b.scaled("SUB", tensor, 0.5), *TO_FIRST))
    counts, types = rewrite(graph)
    assert (4, ["COS", "MUL", "ADD", "SUB"]) == (counts["sink_transposes"], types)


def test_two_become_one(build, rewrite):
    """Two operands that are transposed alike: their sum is."""
    b = build((1, 3, 4, 5))
    left, right = (b.transpose(b.unary(kind, "x"), *TO_LAST) for kind in ("COS", "SIN"))
    counts, types = rewrite(b.outputs(b.binary("ADD", left, right)))
    assert (1, ["COS", "SIN", "ADD", "TRANSPOSE"]) == (counts["sink_transposes"], types)


def test_concatenation(build, rewrite):
    """A CONCATENATION is along the axis that lies there."""
    b = build((1, 3, 4, 5))
    parts = [b.transpose(b.unary(kind, "x"), *TO_LAST) for kind in ("COS", "SIN", "ABS")]
    joined = b.add("CONCATENATION", parts, (1, 4, 5, 9), axis=3)
    types = rewrite(b.outputs(b.transpose(joined, *TO_FIRST)))[1]
    assert ["COS", "SIN", "ABS", "CONCATENATION"] == types


def test_pad_and_reduction(build, rewrite):
    """PAD and reductions over the axes that lie there; behind a mean over H and W nothing is left to move."""
    b = build((1, 3, 4, 5))
    pads = b.constant(value=[[0, 0], [1, 2], [3, 4], [0, 0]], dtype="int32")
    padded = b.add("PAD", [b.transpose("x", *TO_LAST), pads], (1, 7, 12, 3))
    graph = b.outputs(b.add("MEAN", [padded, ints(b, 1, 2)], (1, 3)))
    assert ["PAD", "MEAN"] == rewrite(graph)[1]


def test_reduction_that_leaves_an_order(build, rewrite):
    """Behind a sum over one axis the others may still have to move, and meet what ends that."""
    b = build((2, 3, 4, 5))
    total = b.add("SUM", [b.transpose("x", *TO_LAST), ints(b, 1)], (2, 5, 3))
    types = rewrite(b.outputs(b.transpose(b.unary("COS", total), 0, 2, 1)))[1]
    assert ["SUM", "COS"] == [kind for kind in types if kind != "TRANSPOSE"]


def test_what_stays(build, rewrite):
    """Nothing follows that ends it; a second reader; operands that are transposed otherwise."""
    b = build((1, 3, 3, 3))
    alone = b.unary("COS", b.transpose("x", *TO_LAST))
    read = b.transpose(b.unary("SIN", "x"), *TO_LAST)
    back = b.transpose(b.unary("ABS", read), *TO_FIRST)
    other = b.binary(
        "ADD", b.transpose(b.unary("NEG", "x"), *TO_LAST), b.transpose(b.unary("EXP", "x"), 0, 2, 1, 3)
    )
    assert {} == rewrite(b.outputs(alone, back, read, other))[0]


def test_movement_is_exact(build, run_graph):
    """Where values are only moved, every bit is as it was."""
    from converters.graph.passes import run

    b = build((1, 3, 4, 5))
    parts = [b.transpose("x", *TO_LAST), b.transpose(b.unary("NEG", "x"), *TO_LAST)]
    joined = b.add("CONCATENATION", parts, (1, 4, 5, 6), axis=-1)
    graph = b.outputs(b.transpose(joined, *TO_FIRST))
    before = run_graph(graph)["y0"]
    run(graph)
    assert "TRANSPOSE" not in [operator.type for operator in graph.operators]
    assert np.array_equal(before, run_graph(graph)["y0"])

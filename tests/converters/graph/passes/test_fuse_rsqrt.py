"""RSQRT in place of SQRT and DIV."""


def test_reciprocal(build, rewrite):
    """`1 / sqrt(v)` is one operator."""
    b = build((2, 5))
    variance = b.scaled("ADD", b.unary("ABS", "x"), 1)
    types = rewrite(b.outputs(b.binary("DIV", b.constant(value=1.0), b.unary("SQRT", variance))))[1]
    assert ["ABS", "ADD", "RSQRT"] == types


def test_division_of_rows(build, rewrite):
    """A row divided by one root is multiplied by its inverse."""
    b = build((2, 5))
    total = b.add("SUM", [b.unary("ABS", "x"), b.constant(value=[1], dtype="int32")], (2, 1), keepDims=True)
    counts, types = rewrite(b.outputs(b.binary("DIV", "x", b.unary("SQRT", total))))
    assert ({"fuse_rsqrt": 1}, ["ABS", "SUM", "RSQRT", "MUL"]) == (counts, types)


def test_what_stays(build, rewrite):
    """As many roots as quotients: nothing is gained. Nor where the root is read again."""
    b = build((2, 5))
    many = b.unary("SQRT", b.unary("ABS", "x"))
    read = b.unary("SQRT", b.scaled("ADD", b.unary("ABS", "x"), 1))
    graph = b.outputs(b.binary("DIV", "x", many), b.binary("DIV", b.constant(value=1.0), read), read)
    assert "fuse_rsqrt" not in rewrite(graph)[0]

"""POW by a constant."""

import pytest


@pytest.mark.parametrize(("exponent", "builtin"), [(2, "SQUARE"), (0.5, "SQRT"), (-0.5, "RSQRT")])
def test_builtins(build, rewrite, exponent, builtin):
    """Powers that have a builtin of their own."""
    b = build((2, 5))
    positive = b.scaled("ADD", b.unary("ABS", "x"), 0.1)
    counts, types = rewrite(b.outputs(b.scaled("POW", positive, exponent)))
    assert ({"reduce_powers": 1}, ["ABS", "ADD", builtin]) == (counts, types)


def test_first_power(build, rewrite):
    """The first power is nothing."""
    b = build((2, 5))
    assert ["ABS"] == rewrite(b.outputs(b.scaled("POW", b.unary("ABS", "x"), 1)))[1]


def test_what_stays(build, rewrite):
    """A third power, and powers of 2."""
    b = build((2, 5))
    graph = b.outputs(b.scaled("POW", "x", 3), b.binary("POW", b.constant(value=2.0), "x"))
    assert {} == rewrite(graph)[0]

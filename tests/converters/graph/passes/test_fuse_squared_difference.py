"""SQUARED_DIFFERENCE from its parts."""


def test_square(build, rewrite):
    """The square of a difference."""
    b = build((2, 5))
    difference = b.binary("SUB", "x", b.unary("COS", "x"))
    assert ["COS", "SQUARED_DIFFERENCE"] == rewrite(b.outputs(b.unary("SQUARE", difference)))[1]


def test_power_and_product(build, rewrite):
    """As a power of 2, and as a product with itself."""
    b = build((2, 5))
    cosine, sine = b.unary("COS", "x"), b.unary("SIN", "x")
    power = b.scaled("POW", b.binary("SUB", "x", cosine), 2)
    difference = b.binary("SUB", "x", sine)
    types = rewrite(b.outputs(power, b.binary("MUL", difference, difference)))[1]
    assert ["COS", "SIN", "SQUARED_DIFFERENCE", "SQUARED_DIFFERENCE"] == types


def test_what_stays(build, rewrite):
    """A difference that something else reads, one with an activation, a product of two differences."""
    b = build((2, 5))
    cosine, sine = b.unary("COS", "x"), b.unary("SIN", "x")
    read = b.binary("SUB", "x", cosine)
    active = b.binary("SUB", "x", sine, fusedActivationFunction="RELU")
    two = b.binary("MUL", b.binary("SUB", cosine, "x"), b.binary("SUB", sine, "x"))
    assert {} == rewrite(b.outputs(b.unary("SQUARE", read), read, b.unary("SQUARE", active), two))[0]

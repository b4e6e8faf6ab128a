"""RESHAPE brought to the next one."""


def test_through_elementwise(build, rewrite):
    """Elementwise operators do not care for the shape between two RESHAPEs."""
    b = build((2, 3, 4))
    tensor = b.scaled("MUL", b.unary("COS", b.reshape("x", 6, 4)), 2)
    assert ["COS", "MUL"] == rewrite(b.outputs(b.reshape(tensor, 2, 3, 4)))[1]


def test_to_another_shape(build, rewrite):
    """Of two RESHAPEs one is left."""
    b = build((2, 3, 4))
    tensor = b.unary("COS", b.reshape("x", 6, 4))
    assert ["COS", "RESHAPE"] == rewrite(b.outputs(b.reshape(tensor, 24)))[1]


def test_what_stays(build, rewrite):
    """No RESHAPE follows; a constant per column lies between; something else reads it."""
    b = build((2, 3, 4))
    alone = b.unary("COS", b.reshape("x", 6, 4))
    column = b.reshape(b.binary("MUL", b.reshape(b.unary("SIN", "x"), 6, 4), b.constant(4)), 24)
    read = b.reshape(b.unary("ABS", "x"), 6, 4)
    assert {} == rewrite(b.outputs(alone, column, b.reshape(b.unary("NEG", read), 24), read))[0]

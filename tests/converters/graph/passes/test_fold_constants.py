"""RESHAPE and TRANSPOSE of constants."""


def test_constants(build, rewrite):
    """They are computed here."""
    b = build((3, 4))
    moved = b.transpose(b.reshape(b.constant(12), 4, 3), 1, 0)
    counts, types = rewrite(b.outputs(b.binary("ADD", "x", moved)))
    assert ["ADD"] == types
    assert 2 == counts["fold_constants"]


def test_an_output_stays(build, rewrite):
    """A constant that the graph gives out keeps the operator that copies it."""
    b = build((3, 4))
    assert ({}, ["RELU", "RESHAPE"]) == rewrite(
        b.outputs(b.unary("RELU", "x"), b.reshape(b.constant(12), 4, 3))
    )

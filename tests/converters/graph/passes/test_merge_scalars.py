"""Constants one after another."""

import pytest


@pytest.mark.parametrize("builtin", ["ADD", "MUL"])
def test_two_are_one(build, rewrite, builtin):
    """Two factors or two offsets are one, with the last one's activation."""
    b = build((2, 5))
    made = b.binary(
        builtin, b.constant(5), b.binary(builtin, "x", b.constant(1)), fusedActivationFunction="RELU"
    )
    graph = b.outputs(made)
    counts, types = rewrite(graph)
    assert (1, [builtin]) == (counts["merge_scalars"], types)
    assert "RELU" == graph.operators[0].options["fusedActivationFunction"]


def test_what_stays(build, rewrite):
    """An activation between, a second reader, another operator, constants that are larger together."""
    b = build((2, 5))
    between = b.scaled("ADD", b.scaled("ADD", "x", 2, fusedActivationFunction="RELU"), 3)
    read = b.scaled("MUL", "x", 2)
    mixed = b.scaled("ADD", b.scaled("MUL", "x", 4), 3)
    wide = b.binary("ADD", b.binary("ADD", "x", b.constant(5)), b.constant(2, 1))
    graph = b.outputs(between, b.scaled("MUL", read, 3), read, mixed, wide)
    assert {} == rewrite(graph)[0]
